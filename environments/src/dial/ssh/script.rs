//! What stands in for us on the other machine until the executor runs: a script for any `sh`.
//!
//! It says one line a step, each behind [`MARK`], so that what a login prints beside it is told
//! apart; and it reads a line for each step, after which we send nothing until it has answered.
//! It needs `uname`, `mkdir`, `mv`, `rm`, `chmod`, `wc`, `tr`, `head` or `dd`, and something that makes
//! SHA-256 sums. dash, busybox and bash run it, whatever shell the login itself has.

/// In front of every line that is ours.
pub(super) const MARK: &str = "farstep-ssh:";

/// Where executors are put, below the home folder.
pub(super) const FOLDER: &str = ".local/share/farstep/executor";
pub(super) const FILE: &str = "farstep-executor";

/// Each line ends a command, so that all of them can stand in one. No quote, no backslash before
/// a quote and no exclamation mark: the login shell reads it first, in single quotes, and may be
/// of any kind.
const SCRIPT: &str = r#"
set -f;
LC_ALL=C; export LC_ALL;
t=;
say() { printf "farstep-ssh: %s\n" "$*"; };
bye() { [ -n "$t" ] && rm -f "$t"; t=; };
die() { bye; say fail "$@"; exit 3; };
quit() { bye; exit 3; };
trap quit 1 2 13 15;
s=$(uname -s 2>/dev/null) || s=unknown;
a=$(uname -m 2>/dev/null) || a=unknown;
u=$(id -u 2>/dev/null) || u=unknown;
l=$(getconf GNU_LIBC_VERSION 2>/dev/null | tr " " -) || l=;
[ -n "$l" ] || l=other;
h=none;
for c in sha256sum shasum openssl sha256; do command -v $c >/dev/null 2>&1 && { h=$c; break; }; done;
sum() { case $h in
sha256sum) sha256sum <"$1" ;;
shasum) shasum -a 256 <"$1" ;;
openssl) openssl dgst -sha256 <"$1" ;;
sha256) sha256 <"$1" ;;
esac 2>/dev/null | tr -c 0-9a-f " "; };
is() { case " $(sum "$1") " in *" $want "*) return 0 ;; esac; return 1; };
g=dd;
[ "$(printf abc | head -c 2 2>/dev/null)" = ab ] && g=head;
take() { if [ $g = head ]; then head -c "$size"; else dd bs=1 count="$size"; fi; };
say hello "${s:-unknown}" "${a:-unknown}" "$l" "$h" "$u";
read -r verb name size want || exit 0;
[ "$verb" = use ] || exit 0;
[ -n "$HOME" ] || die home HOME is not set;
e=$(cd "$HOME" 2>&1) || die home $e;
cd "$HOME";
d=.local/share/farstep/executor/$name;
f=$d/farstep-executor;
if [ -x "$f" ] && is "$f"; then say have; else
umask 077;
e=$(mkdir -p "$d" 2>&1) || die folder $e;
t=$d/.new.$$;
e=$( { : >"$t"; } 2>&1) || die write $e;
say need;
e=$( { take >"$t"; } 2>&1) || die write $e;
n=$(wc -c <"$t" | tr -d " ");
[ "$n" = "$size" ] || die write only $n of $size bytes arrived on the disk;
is "$t" || die sum the content differs from what was sent;
e=$(chmod 700 "$t" 2>&1) || die write $e;
e=$("./$t" --version 2>&1 </dev/null);
c=$?;
[ $c = 0 ] || die run $c $e;
e=$(mv -f "$t" "$f" 2>&1) || die write $e;
t=;
say placed;
fi;
read -r verb flag || exit 0;
[ "$verb" = serve ] || exit 0;
exec "./$f" --listen stdio --durable $flag;
"#;

/// The script as a command for a login shell.
pub(super) fn command() -> String {
    let one_line = SCRIPT.trim().replace('\n', " ");
    format!("exec sh -c '{one_line}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_survives_any_login_shell_and_names_what_the_rest_of_us_names() {
        let inner = SCRIPT.trim();
        assert!(!inner.contains(['\'', '!', '`']), "{inner}");
        for (at, _) in inner.match_indices('\\') {
            assert_eq!(&inner[at..at + 2], "\\n");
        }
        assert!(inner.contains(MARK) && inner.contains(FOLDER) && inner.contains(FILE));
        assert!(!command().contains('\n'));
    }
}
