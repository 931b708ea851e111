//! Single msgpack values, in the forms that Node's encoder chooses.

/// Appends nil.
pub fn put_nil(out: &mut Vec<u8>) {
    out.push(0xc0);
}

/// Appends a truth value.
pub fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.push(if value { 0xc3 } else { 0xc2 });
}

/// Appends an integer in its shortest form.
pub fn put_uint(out: &mut Vec<u8>, value: u64) {
    if value < 0x80 {
        out.push(value as u8);
    } else if let Ok(value) = u8::try_from(value) {
        out.extend([0xcc, value]);
    } else if let Ok(value) = u16::try_from(value) {
        out.push(0xcd);
        out.extend(value.to_be_bytes());
    } else if let Ok(value) = u32::try_from(value) {
        out.push(0xce);
        out.extend(value.to_be_bytes());
    } else {
        out.push(0xcf);
        out.extend(value.to_be_bytes());
    }
}

pub(super) fn put_int(out: &mut Vec<u8>, value: i64) {
    if let Ok(value) = u64::try_from(value) {
        put_uint(out, value);
    } else if value >= -0x20 {
        out.push(value as u8);
    } else if let Ok(value) = i8::try_from(value) {
        out.extend([0xd0, value as u8]);
    } else if let Ok(value) = i16::try_from(value) {
        out.push(0xd1);
        out.extend(value.to_be_bytes());
    } else if let Ok(value) = i32::try_from(value) {
        out.push(0xd2);
        out.extend(value.to_be_bytes());
    } else {
        out.push(0xd3);
        out.extend(value.to_be_bytes());
    }
}

/// A number as JavaScript sees it: what has no fraction is an integer there, whatever its spelling was.
pub(super) fn put_number(out: &mut Vec<u8>, value: f64) {
    const SAFE_INTEGER_MAX: f64 = 9_007_199_254_740_991.0;
    if value.trunc() == value && value.abs() <= SAFE_INTEGER_MAX {
        put_int(out, value as i64);
    } else {
        out.push(0xcb);
        out.extend(value.to_be_bytes());
    }
}

/// Appends a text.
pub fn put_str(out: &mut Vec<u8>, text: &str) {
    let length = text.len();
    if length < 32 {
        out.push(0xa0 | length as u8);
    } else {
        put_length(out, length, [0xd9, 0xda, 0xdb]);
    }
    out.extend_from_slice(text.as_bytes());
}

/// Appends a binary value.
pub fn put_bin(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len(), [0xc4, 0xc5, 0xc6]);
    out.extend_from_slice(bytes);
}

fn put_length(out: &mut Vec<u8>, length: usize, [short, middle, long]: [u8; 3]) {
    if let Ok(length) = u8::try_from(length) {
        out.extend([short, length]);
    } else if let Ok(length) = u16::try_from(length) {
        out.push(middle);
        out.extend(length.to_be_bytes());
    } else {
        out.push(long);
        out.extend((length as u32).to_be_bytes());
    }
}

/// Appends the header of an array; its items follow.
pub fn put_array_len(out: &mut Vec<u8>, count: usize) {
    put_count(out, count, 0x90, 0xdc);
}

/// Appends the header of a map; its keys and values follow.
pub fn put_map_len(out: &mut Vec<u8>, count: usize) {
    put_count(out, count, 0x80, 0xde);
}

fn put_count(out: &mut Vec<u8>, count: usize, fixed: u8, wide: u8) {
    if count < 16 {
        out.push(fixed | count as u8);
    } else if let Ok(count) = u16::try_from(count) {
        out.push(wide);
        out.extend(count.to_be_bytes());
    } else {
        out.push(wide + 1);
        out.extend((count as u32).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_shortest_form() {
        type Put = fn(&mut Vec<u8>, usize);
        let text: Put = |out, length| put_str(out, &"x".repeat(length));
        let bin: Put = |out, length| put_bin(out, &vec![b'x'; length]);
        let cases: [(Put, usize, &[u8]); 16] = [
            (text, 0, &[0xa0]),
            (text, 31, &[0xbf]),
            (text, 32, &[0xd9, 32]),
            (text, 255, &[0xd9, 255]),
            (text, 256, &[0xda, 1, 0]),
            (text, 65_535, &[0xda, 255, 255]),
            (text, 65_536, &[0xdb, 0, 1, 0, 0]),
            (bin, 0, &[0xc4, 0]),
            (bin, 256, &[0xc5, 1, 0]),
            (bin, 65_536, &[0xc6, 0, 1, 0, 0]),
            (put_array_len, 15, &[0x9f]),
            (put_array_len, 16, &[0xdc, 0, 16]),
            (put_array_len, 65_536, &[0xdd, 0, 1, 0, 0]),
            (put_map_len, 15, &[0x8f]),
            (put_map_len, 65_535, &[0xde, 255, 255]),
            (put_map_len, 65_536, &[0xdf, 0, 1, 0, 0]),
        ];
        for (put, length, header) in cases {
            let mut out = Vec::new();
            put(&mut out, length);
            assert!(
                out.starts_with(header),
                "{length}: {:02x?}",
                &out[..out.len().min(5)]
            );
        }
    }
}
