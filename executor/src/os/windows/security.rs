//! Who may do what with an open file, and files that are ours alone.

use std::fs::File;
use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Foundation::{
    ERROR_ALREADY_EXISTS, ERROR_SUCCESS, GENERIC_ALL, GENERIC_READ, GENERIC_WRITE,
    INVALID_HANDLE_VALUE, LocalFree,
};
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, GetSecurityInfo,
    SDDL_REVISION_1, SE_FILE_OBJECT,
};
use windows_sys::Win32::Security::{
    ACCESS_ALLOWED_ACE, ACE_HEADER, ACL, DACL_SECURITY_INFORMATION, EqualSid, GetAce,
    GetTokenInformation, INHERIT_ONLY_ACE, IsWellKnownSid, OWNER_SECURITY_INFORMATION,
    PSECURITY_DESCRIPTOR, PSID, SECURITY_ATTRIBUTES, TOKEN_QUERY, TOKEN_USER, TokenUser,
    WinBuiltinAdministratorsSid, WinCreatorOwnerRightsSid, WinLocalSystemSid,
};
use windows_sys::Win32::Storage::FileSystem::{
    CREATE_NEW, CreateDirectoryW, CreateFileW, DELETE, FILE_APPEND_DATA, FILE_ATTRIBUTE_NORMAL,
    FILE_FLAG_OPEN_REPARSE_POINT, FILE_READ_DATA, FILE_SHARE_DELETE, FILE_SHARE_READ,
    FILE_SHARE_WRITE, FILE_WRITE_DATA, WRITE_DAC, WRITE_OWNER,
};
use windows_sys::Win32::System::SystemServices::{ACCESS_ALLOWED_ACE_TYPE, ACCESS_DENIED_ACE_TYPE};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

use super::call::{check, is, len_u32, wide};

/// What others than the owner, administrators and the system itself may do with a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Others {
    pub(super) own: bool,
    pub(super) read: bool,
    pub(super) write: bool,
}

const READS: u32 = FILE_READ_DATA | GENERIC_READ | GENERIC_ALL;
const WRITES: u32 = FILE_WRITE_DATA
    | FILE_APPEND_DATA
    | WRITE_DAC
    | WRITE_OWNER
    | DELETE
    | GENERIC_WRITE
    | GENERIC_ALL;

/// Who we are.
pub(super) fn own_token() -> io::Result<OwnedHandle> {
    let mut token = ptr::null_mut();
    // Why at all: the standard library does not ask who we are. Why sound: the handle is owned
    // only if the call says that it is there.
    #[expect(unsafe_code, reason = "our own token")]
    unsafe {
        check(OpenProcessToken(
            GetCurrentProcess(),
            TOKEN_QUERY,
            &raw mut token,
        ))?;
        Ok(OwnedHandle::from_raw_handle(token))
    }
}

/// Our user. In words, so that the record is aligned.
struct OwnUser(Vec<usize>);

impl OwnUser {
    fn get() -> io::Result<OwnUser> {
        let token = own_token()?;
        // The longest identifier takes 68 bytes.
        let mut room = vec![0_usize; 32];
        let mut len = 0;
        // Why at all: as above. Why sound: the buffer is as long as is said, and aligned.
        #[expect(unsafe_code, reason = "our own user")]
        let done = unsafe {
            GetTokenInformation(
                token.as_raw_handle(),
                TokenUser,
                room.as_mut_ptr().cast(),
                len_u32(size_of_val(room.as_slice())),
                &raw mut len,
            )
        };
        check(done)?;
        Ok(OwnUser(room))
    }

    fn sid(&self) -> PSID {
        // Why at all: the identifier lies behind the record that points to it. Why sound: the
        // record was filled by the call that made us, and does not move: it is on the heap.
        #[expect(unsafe_code, reason = "a record that was filled")]
        unsafe {
            (*self.0.as_ptr().cast::<TOKEN_USER>()).User.Sid
        }
    }

    /// As it is written in access lists.
    fn text(&self) -> io::Result<String> {
        let mut text: *mut u16 = ptr::null_mut();
        // Why at all: access lists are made from text. Why sound: the text is copied before it is
        // freed, and ends with a NUL.
        #[expect(unsafe_code, reason = "an identifier as text")]
        unsafe {
            check(ConvertSidToStringSidW(self.sid(), &raw mut text))?;
            let len = (0..).take_while(|at| *text.add(*at) != 0).count();
            let copy = String::from_utf16_lossy(std::slice::from_raw_parts(text, len));
            LocalFree(text.cast());
            Ok(copy)
        }
    }
}

/// A description that the system allocated.
struct Descriptor(PSECURITY_DESCRIPTOR);

impl Drop for Descriptor {
    fn drop(&mut self) {
        // Why at all: nobody else frees it. Why sound: it came from a call that says so, once.
        #[expect(unsafe_code, reason = "what the system allocated")]
        unsafe {
            LocalFree(self.0);
        }
    }
}

/// What others may do with an open file. It has to be open for reading its access list, as every
/// file is that is open for reading or writing.
pub(super) fn others(file: BorrowedHandle<'_>) -> io::Result<Others> {
    let user = OwnUser::get()?;
    let (mut owner, mut list): (PSID, *mut ACL) = (ptr::null_mut(), ptr::null_mut());
    let mut descriptor = Descriptor(ptr::null_mut());
    // Why at all: the standard library knows no access lists. Why sound: owner and list point into
    // the description, which outlives their use here.
    #[expect(unsafe_code, reason = "who may do what with a file")]
    let status = unsafe {
        GetSecurityInfo(
            file.as_raw_handle(),
            SE_FILE_OBJECT,
            OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION,
            &raw mut owner,
            ptr::null_mut(),
            &raw mut list,
            ptr::null_mut(),
            &raw mut descriptor.0,
        )
    };
    if status != ERROR_SUCCESS {
        return Err(io::Error::from_raw_os_error(status.cast_signed()));
    }
    let mut others = Others {
        own: !is_trusted(owner, &user),
        ..Others::default()
    };
    if list.is_null() {
        // Without a list everybody may do everything.
        (others.read, others.write) = (true, true);
        return Ok(others);
    }
    // Why at all: there is no safe way through a list. Why sound: the list is whole, `GetAce` gives
    // only entries that are in it, and an entry is read as what its type says.
    #[expect(unsafe_code, reason = "the entries of an access list")]
    unsafe {
        for index in 0..u32::from((*list).AceCount) {
            let mut entry = ptr::null_mut();
            check(GetAce(list, index, &raw mut entry))?;
            let header = *entry.cast::<ACE_HEADER>();
            if u32::from(header.AceFlags) & INHERIT_ONLY_ACE != 0
                || u32::from(header.AceType) == ACCESS_DENIED_ACE_TYPE
            {
                continue;
            }
            if u32::from(header.AceType) != ACCESS_ALLOWED_ACE_TYPE {
                // Entries with conditions: to be safe, they hold.
                (others.read, others.write) = (true, true);
                continue;
            }
            let allowed = entry.cast::<ACCESS_ALLOWED_ACE>();
            let sid = (&raw mut (*allowed).SidStart).cast();
            if !is_trusted(sid, &user) {
                others.read |= (*allowed).Mask & READS != 0;
                others.write |= (*allowed).Mask & WRITES != 0;
            }
        }
    }
    Ok(others)
}

/// We, the system, and those who could do everything anyway.
fn is_trusted(sid: PSID, user: &OwnUser) -> bool {
    let known = [
        WinBuiltinAdministratorsSid,
        WinLocalSystemSid,
        WinCreatorOwnerRightsSid,
    ];
    if sid.is_null() {
        return false;
    }
    // Why at all: identifiers are compared by the system. Why sound: both are whole, as the caller
    // has them from the system.
    #[expect(unsafe_code, reason = "whether two identifiers are the same")]
    unsafe {
        EqualSid(sid, user.sid()) != 0
            || known
                .into_iter()
                .any(|known| IsWellKnownSid(sid, known) != 0)
    }
}

/// The access list of an open file, to be compared with another one.
pub(super) fn access_list(file: BorrowedHandle<'_>) -> io::Result<Vec<u8>> {
    let mut list: *mut ACL = ptr::null_mut();
    let mut descriptor = Descriptor(ptr::null_mut());
    // Why at all and why sound: as above; the list says how long it is.
    #[expect(unsafe_code, reason = "an access list as bytes")]
    unsafe {
        let status = GetSecurityInfo(
            file.as_raw_handle(),
            SE_FILE_OBJECT,
            DACL_SECURITY_INFORMATION,
            ptr::null_mut(),
            ptr::null_mut(),
            &raw mut list,
            ptr::null_mut(),
            &raw mut descriptor.0,
        );
        if status != ERROR_SUCCESS {
            return Err(io::Error::from_raw_os_error(status.cast_signed()));
        }
        if list.is_null() {
            return Ok(Vec::new());
        }
        let bytes = usize::from((*list).AclSize);
        Ok(std::slice::from_raw_parts(list.cast::<u8>(), bytes).to_vec())
    }
}

/// What makes a new file or folder ours alone, whatever the folder above says.
struct Private {
    descriptor: Descriptor,
}

impl Private {
    fn new() -> io::Result<Private> {
        let user = OwnUser::get()?.text()?;
        // Full rights for us, the system and the administrators, nothing from above.
        let text =
            format!("D:P(A;OICI;0x1f01ff;;;{user})(A;OICI;0x1f01ff;;;SY)(A;OICI;0x1f01ff;;;BA)");
        let text = wide(text)?;
        let mut descriptor = Descriptor(ptr::null_mut());
        // Why at all: as above. Why sound: the text ends with a NUL, and what is returned is owned.
        #[expect(unsafe_code, reason = "an access list from its text")]
        let done = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &raw mut descriptor.0,
                ptr::null_mut(),
            )
        };
        check(done)?;
        Ok(Private { descriptor })
    }

    fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: len_u32(size_of::<SECURITY_ATTRIBUTES>()),
            lpSecurityDescriptor: self.descriptor.0,
            bInheritHandle: 0,
        }
    }
}

/// Makes a new file for us alone, open for reading and writing.
pub(super) fn create_private_file(path: &Path) -> io::Result<File> {
    let (private, path) = (Private::new()?, wide(path)?);
    let attributes = private.attributes();
    // Why at all: the standard library gives a file no access list. Why sound: path and list
    // outlive the call, and the handle is checked before it is owned.
    #[expect(unsafe_code, reason = "a new file with an access list")]
    unsafe {
        let file = CreateFileW(
            path.as_ptr(),
            GENERIC_READ | GENERIC_WRITE,
            FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
            &raw const attributes,
            CREATE_NEW,
            FILE_ATTRIBUTE_NORMAL | FILE_FLAG_OPEN_REPARSE_POINT,
            ptr::null_mut(),
        );
        if file == INVALID_HANDLE_VALUE {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedHandle::from_raw_handle(file).into())
    }
}

/// Makes a folder and the missing ones above it, each for us alone.
pub(super) fn create_private_folders(path: &Path) -> io::Result<()> {
    let private = Private::new()?;
    let attributes = private.attributes();
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|folder| !folder.as_os_str().is_empty() && !folder.is_dir())
        .collect();
    for folder in missing.iter().rev() {
        let folder = wide(folder)?;
        // Why at all: as for files. Why sound: path and list outlive the call.
        #[expect(unsafe_code, reason = "a new folder with an access list")]
        let done = unsafe { CreateDirectoryW(folder.as_ptr(), &raw const attributes) };
        match check(done) {
            Err(error) if is(&error, ERROR_ALREADY_EXISTS) => {}
            made => made?,
        }
    }
    Ok(())
}
