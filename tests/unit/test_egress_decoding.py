"""Content encodings, decoded in bounded pieces."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.errors import ProviderProtocolError
from llm_service.providers.decoding import MAX_PIECE_BYTES, Inflate


def raw_deflate(data):
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return squeeze.compress(data) + squeeze.flush()


ENCODERS = [
    pytest.param("gzip", gzip.compress, id="gzip"),
    pytest.param("gzip", lambda data: gzip.compress(data) + gzip.compress(data[:3]), id="members"),
    pytest.param("deflate", zlib.compress, id="zlib"),
    pytest.param("deflate", raw_deflate, id="raw"),
]


def decode(inflate, inputs):
    pieces = []
    for data in inputs:
        pieces.append(inflate.decode(data))
        while not inflate.starved:
            pieces.append(inflate.decode(b""))
    return pieces


@pytest.mark.parametrize(("encoding", "encode"), ENCODERS)
@given(data=st.binary(max_size=500), size=st.integers(1, 60))
def test_how_the_input_is_cut_changes_nothing(encoding, encode, data, size):
    wire = encode(data)
    cut = Inflate(encoding)
    whole = Inflate(encoding)

    from_pieces = decode(cut, [wire[at : at + size] for at in range(0, len(wire), size)])

    assert b"".join(from_pieces) == b"".join(decode(whole, [wire]))
    assert b"".join(from_pieces).startswith(data)
    assert cut.complete


def test_a_small_input_never_makes_a_large_piece():
    bomb = gzip.compress(b"\0" * (40 * MAX_PIECE_BYTES))

    pieces = decode(Inflate("gzip"), [bomb])

    assert max(map(len, pieces)) <= MAX_PIECE_BYTES
    assert sum(map(len, pieces)) == 40 * MAX_PIECE_BYTES


@pytest.mark.parametrize(("encoding", "encode"), ENCODERS)
def test_input_that_stops_early_is_not_complete(encoding, encode):
    inflate = Inflate(encoding)

    decode(inflate, [encode(b"some text")[:-1]])

    assert not inflate.complete


@pytest.mark.parametrize(
    ("encoding", "wire"),
    [
        ("gzip", b"not gzip at all"),
        ("gzip", gzip.compress(b"x", mtime=0) + b"trailing"),
        ("deflate", zlib.compress(b"x") + b"trailing"),
        ("deflate", b"\xff\xff\xff\xff"),
    ],
)
def test_what_is_not_the_encoding_is_a_protocol_error(encoding, wire):
    with pytest.raises(ProviderProtocolError):
        decode(Inflate(encoding), [wire])


def test_no_input_is_complete():
    assert Inflate("deflate").complete
