use image::{Rgb, RgbImage, Rgba, RgbaImage};
use proptest::prelude::*;

use super::*;

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn strip(width: u32, height: u32) -> DynamicImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 0])).into()
}

/// The type and the bytes of a data URL.
fn opened(block: Block) -> (String, Vec<u8>, Detail) {
    let Block::Image { url, detail } = block else {
        panic!("not an image")
    };
    let (kind, data) = url
        .strip_prefix("data:")
        .unwrap()
        .split_once(";base64,")
        .unwrap();
    (
        kind.to_owned(),
        STANDARD.decode_to_vec(data).unwrap(),
        detail,
    )
}

#[test]
fn a_file_within_the_limits_passes_byte_for_byte() {
    let formats = [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::Gif,
        ImageFormat::WebP,
    ];
    for (format, kind) in formats.into_iter().zip(["png", "jpeg", "gif", "webp"]) {
        let file = encoded(&strip(40, 30), format);
        for detail in [Detail::High, Detail::Original] {
            let expected = (format!("image/{kind}"), file.clone(), detail);
            assert_eq!(opened(for_model(&file, detail).unwrap()), expected);
        }
    }
}

#[test]
fn a_large_file_is_scaled_and_keeps_its_kind_where_that_matters() {
    let scaled = |format| {
        let file = encoded(&strip(2100, 21), format);
        let (kind, bytes, _) = opened(for_model(&file, Detail::High).unwrap());
        let picture = image::load_from_memory(&bytes).unwrap();
        (kind, picture.width(), picture.height())
    };
    assert_eq!(scaled(ImageFormat::Png), ("image/png".into(), 2048, 20));
    assert_eq!(scaled(ImageFormat::Jpeg), ("image/jpeg".into(), 2048, 20));
    assert_eq!(scaled(ImageFormat::WebP), ("image/png".into(), 2048, 20));
}

#[test]
fn transparency_survives_scaling() {
    let clear: DynamicImage = RgbaImage::from_pixel(2100, 3, Rgba([9, 9, 9, 0])).into();
    let file = encoded(&clear, ImageFormat::Png);
    let (_, bytes, _) = opened(for_model(&file, Detail::High).unwrap());
    let picture = image::load_from_memory(&bytes).unwrap().to_rgba8();
    assert!(picture.pixels().all(|pixel| pixel.0[3] == 0));
}

#[test]
fn a_photograph_is_turned_upright_when_it_is_scaled() {
    // An EXIF segment that says: rotate by 90 degrees.
    let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let plain = encoded(&strip(2100, 21), ImageFormat::Jpeg);
    let file = [&plain[..2], exif, &plain[2..]].concat();
    let (_, bytes, _) = opened(for_model(&file, Detail::High).unwrap());
    let picture = image::load_from_memory(&bytes).unwrap();
    assert_eq!((picture.width(), picture.height()), (20, 2048));
}

#[test]
fn sizes_match_what_models_expect() {
    assert_eq!(within_patches((5000, 3000)), (4106, 2464));
    assert_eq!(within_side((5000, 3000)), (2048, 1229));
    assert_eq!(within_patches((3200, 3200)), (3200, 3200));
    assert_eq!(within_side((2048, 2048)), (2048, 2048));
    assert_eq!(within_side((100, 4096)), (50, 2048));
    assert_eq!(within_side((1, 60_000)), (1, 2048));
    assert_eq!(within_patches((65_535, 1)), (65_535, 1));
}

#[test]
fn what_is_no_image_is_said() {
    let refusal = |file: &[u8]| for_model(file, Detail::High).unwrap_err().to_string();
    let start = "unable to process image: ";
    assert_eq!(
        refusal(b"hello"),
        format!("{start}the file is no PNG, JPEG, GIF or WebP image")
    );
    assert_eq!(
        refusal(b""),
        format!("{start}the file is no PNG, JPEG, GIF or WebP image")
    );
    let file = encoded(&strip(40, 30), ImageFormat::Png);
    assert!(refusal(&file[..file.len() / 2]).starts_with(start));
    let large = vec![0; MAX_FILE_BYTES + (1 << 20)];
    assert_eq!(
        refusal(&large),
        format!("{start}the file has 65 MiB, more than 64 MiB")
    );
}

#[test]
fn a_small_file_that_claims_to_be_huge_is_not_decoded() {
    let mut file = encoded(&strip(1, 1), ImageFormat::Png);
    // Width and height in the header, and the checksum over it.
    file[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let checksum = crc32(&file[12..29]);
    file[29..33].copy_from_slice(&checksum.to_be_bytes());
    let refusal = for_model(&file, Detail::High).unwrap_err().to_string();
    assert_eq!(refusal, "unable to process image: Memory limit exceeded");
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), step)
    })
}

proptest! {
    #[test]
    fn scaled_sizes_fit_and_keep_their_shape(width in 1u32..60_000, height in 1u32..60_000) {
        let (wide, high) = within_patches((width, height));
        prop_assert!(wide >= 1 && high >= 1 && wide <= width && high <= height);
        prop_assert!(wide.div_ceil(32) * high.div_ceil(32) <= 10_000);
        let (wide, high) = within_side((width, height));
        prop_assert!(wide >= 1 && high >= 1 && wide.max(high) <= 2048);
        if width.min(height) > 2000 {
            let (wide, high) = within_patches((width, height));
            let skew = (f64::from(wide) / f64::from(high)) / (f64::from(width) / f64::from(height));
            prop_assert!((0.98..1.02).contains(&skew), "{wide} x {high}");
        }
    }
}
