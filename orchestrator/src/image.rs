//! Making an image file fit for a model.
//!
//! A file within the model's limits goes out byte for byte; a larger one is scaled down here, never
//! on the executor. Decoding is slow and takes memory, so call this where blocking is allowed.

use std::io::Cursor;

use base64_simd::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::error::{LimitError, LimitErrorKind};
use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::model::{Block, Detail};

/// Larger files are refused before they are decoded.
pub const MAX_FILE_BYTES: usize = 64 * 1024 * 1024;
/// What decoding may allocate: an image of about 128 million pixels. More is refused.
const MAX_DECODED_BYTES: u64 = 512 * 1024 * 1024;
/// No side may be longer, whatever the other one is.
const MAX_SIDE: u32 = 65_535;
/// With full detail a model sees patches of this size ...
const PATCH: u64 = 32;
/// ... and at most so many of them.
const MAX_PATCHES: u64 = 10_000;
/// The longest side for models without full detail.
const HIGH_SIDE: u32 = 2048;
/// Loses little that a model could see, and makes a photograph a tenth of its PNG.
const JPEG_QUALITY: u8 = 90;

/// Why no image can be shown. The texts are read by the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    #[error("unable to locate image at {path}: {reason}")]
    Missing { path: String, reason: String },
    #[error("image path {path} is not a file")]
    NotAFile { path: String },
    #[error("unable to process image: {0}")]
    Unprocessable(String),
}

/// The file as an output block, scaled down if `detail` asks for it.
pub fn for_model(file: &[u8], detail: Detail) -> Result<Block, ImageError> {
    let bad = |reason: String| ImageError::Unprocessable(reason);
    if file.len() > MAX_FILE_BYTES {
        let (size, most) = (file.len() >> 20, MAX_FILE_BYTES >> 20);
        return Err(bad(format!(
            "the file has {size} MiB, more than {most} MiB"
        )));
    }
    let format = image::guess_format(file)
        .map_err(|_| bad("the file is no PNG, JPEG, GIF or WebP image".to_owned()))?;
    let (mut picture, orientation) =
        decode(file, format).map_err(|error| bad(error.to_string()))?;
    let size = (picture.width(), picture.height());
    let target = match detail {
        Detail::Original => within_patches(size),
        Detail::High => within_side(size),
    };
    if target == size {
        return Ok(block(file, format, detail));
    }
    picture = picture.resize_exact(target.0, target.1, FilterType::CatmullRom);
    // The file said how to turn it; the scaled copy has to be turned already.
    picture.apply_orientation(orientation);
    let (bytes, format) = encode(&picture, format).map_err(|error| bad(error.to_string()))?;
    Ok(block(&bytes, format, detail))
}

fn decode(file: &[u8], format: ImageFormat) -> image::ImageResult<(DynamicImage, Orientation)> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    let mut reader = ImageReader::with_format(Cursor::new(file), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    // The limits bind the decoder's own memory. The picture's is ours to check, before it is there.
    if decoder.total_bytes() > MAX_DECODED_BYTES {
        return Err(image::ImageError::Limits(LimitError::from_kind(
            LimitErrorKind::InsufficientMemory,
        )));
    }
    // Without a readable orientation the picture is upright.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    Ok((DynamicImage::from_decoder(decoder)?, orientation))
}

/// Photographs stay JPEG; everything else becomes PNG, which keeps text sharp and may be
/// transparent.
fn encode(
    picture: &DynamicImage,
    format: ImageFormat,
) -> image::ImageResult<(Vec<u8>, ImageFormat)> {
    let mut bytes = Cursor::new(Vec::new());
    let format = match format {
        ImageFormat::Jpeg => {
            let encoder = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY);
            picture.to_rgb8().write_with_encoder(encoder)?;
            ImageFormat::Jpeg
        }
        _ => {
            picture.write_to(&mut bytes, ImageFormat::Png)?;
            ImageFormat::Png
        }
    };
    Ok((bytes.into_inner(), format))
}

fn block(file: &[u8], format: ImageFormat, detail: Detail) -> Block {
    let mut url = format!("data:{};base64,", format.to_mime_type());
    STANDARD.encode_append(file, &mut url);
    Block::Image { url, detail }
}

/// The size with the longest side cut to [`HIGH_SIDE`].
fn within_side((width, height): (u32, u32)) -> (u32, u32) {
    let longest = width.max(height);
    if longest <= HIGH_SIDE {
        return (width, height);
    }
    let scaled = |side: u32| {
        let (side, longest) = (u64::from(side) * u64::from(HIGH_SIDE), u64::from(longest));
        ((side + longest / 2) / longest).max(1) as u32
    };
    (scaled(width), scaled(height))
}

/// The size with at most [`MAX_PATCHES`] patches, a whole number of them along one side.
fn within_patches((width, height): (u32, u32)) -> (u32, u32) {
    let patches = |width: u64, height: u64| width.div_ceil(PATCH) * height.div_ceil(PATCH);
    let (wide, high) = (u64::from(width), u64::from(height));
    if patches(wide, high) <= MAX_PATCHES {
        return (width, height);
    }
    // The scale at which the area is right, then the side that has to give way to the grid.
    let ratio = ((MAX_PATCHES * PATCH * PATCH) as f64 / (wide as f64 * high as f64))
        .sqrt()
        .min(1.0);
    let along = |side: u64| side as f64 * ratio / PATCH as f64;
    let whole = |side: u64| (along(side) as u64).max(1) * PATCH;
    let loss = |side: u64| whole(side) as f64 / PATCH as f64 / along(side);
    let by_height = (wide * whole(high) / high, whole(high));
    let by_width = (whole(wide), high * whole(wide) / wide);
    let (mut wide, mut high) = if loss(high) < loss(wide) {
        by_height
    } else {
        by_width
    };
    // A strip thinner than a patch fits no grid; it is cut along its length.
    (wide, high) = (
        wide.clamp(1, u64::from(width)),
        high.clamp(1, u64::from(height)),
    );
    if patches(wide, high) > MAX_PATCHES {
        let most = |other: u64| MAX_PATCHES / other.div_ceil(PATCH) * PATCH;
        if wide >= high {
            wide = most(high)
        } else {
            high = most(wide)
        }
    }
    (wide as u32, high as u32)
}

#[cfg(test)]
mod tests;
