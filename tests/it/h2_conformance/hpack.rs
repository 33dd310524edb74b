//! RFC 7541: header blocks.

use super::*;

/// A request whose header block goes on with these bytes.
fn block_and(more: &[u8]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, &[&fields("GET", "/"), more].concat())
}

#[tokio::test]
async fn blocks_are_decoded_or_end_the_connection() {
    // A literal, kept in the dynamic table, and then by its number there.
    let kept = b"\x40\x01a\x01b\xbe";

    check(vec![
        case(
            "7541 2.3.3 the static table's entries",
            Served,
            [block_and(b"\x90")],
        ),
        case(
            "7541 2.3.3 an entry that is kept",
            Served,
            [block_and(kept)],
        ),
        case(
            "7541 2.3.3 an entry that there is not",
            COMPRESSION,
            [block_and(b"\xbe")],
        ),
        case(
            "7541 2.3.3 a name that there is not",
            COMPRESSION,
            [block_and(b"\x7e\x01b")],
        ),
        case(
            "7541 4.2 a change of size comes first",
            Served,
            [frame(
                HEADERS,
                WHOLE,
                1,
                &[&b"\x20\x3f\xe1\x1f"[..], &fields("GET", "/")].concat(),
            )],
        ),
        case(
            "7541 4.2 a change of size at the end",
            COMPRESSION,
            [block_and(b"\x20")],
        ),
        case(
            "7541 4.4 an entry that was evicted",
            COMPRESSION,
            [frame(
                HEADERS,
                WHOLE,
                1,
                &[&b"\x20"[..], &fields("GET", "/"), kept].concat(),
            )],
        ),
    ])
    .await;
}

#[tokio::test]
async fn integers_strings_and_representations() {
    let huffman = frame(
        HEADERS,
        WHOLE,
        1,
        &[
            0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab,
            0x90, 0xf4, 0xff,
        ],
    );
    check(vec![
        case(
            "7541 5.1 an integer without an end",
            COMPRESSION,
            [block_and(
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            )],
        ),
        case(
            "7541 5.2 a string that is cut off",
            COMPRESSION,
            [block_and(b"\x00\x01a\x05b")],
        ),
        case("7541 5.2 Huffman's code", Served, [huffman]),
        case(
            "7541 5.2 padding of eight bits",
            COMPRESSION,
            [block_and(b"\x00\x01a\x82\x1f\xff")],
        ),
        case(
            "7541 5.2 padding of zeros",
            COMPRESSION,
            [block_and(b"\x00\x01a\x81\x18")],
        ),
        case(
            "7541 5.2 EOS in a string",
            COMPRESSION,
            [block_and(b"\x00\x01a\x84\xff\xff\xff\xff")],
        ),
        case("7541 6.1 the index 0", COMPRESSION, [block_and(b"\x80")]),
        case(
            "7541 6.2.3 a literal that is never indexed",
            Served,
            [block_and(b"\x10\x01a\x01b")],
        ),
        case(
            "7541 6.3 a table above SETTINGS_HEADER_TABLE_SIZE",
            COMPRESSION,
            [frame(
                HEADERS,
                WHOLE,
                1,
                &[&b"\x3f\xe2\x1f"[..], &fields("GET", "/")].concat(),
            )],
        ),
    ])
    .await;
}
