"""What a file is, by its first bytes: its name's ending says nothing that can be relied on."""

from __future__ import annotations

# The kinds that imaging.open_image reads. JPEG: also MPO and Ultra HDR, of which the first picture
# counts.
READ = ("JPEG", "PNG", "WEBP", "HEIC", "AVIF")
READ_IN_WORDS = "JPEG, PNG, WebP, HEIC or AVIF"
# Bytes that are enough to tell: a list of brands in an ISO container may be long.
ENOUGH = 128

# Endings of those kinds; a file that is named so is meant to be a photograph, whatever it holds.
ENDINGS = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".mpo",
    ".png",
    ".webp",
    ".heic",
    ".heif",
    ".hif",
    ".avif",
)
RAW = "a camera's raw file"
# Pictures that are not read, by ending: what they are. Many raw files are TIFFs by their content.
OTHER_ENDINGS = {
    ".jxl": "a JPEG XL picture",
    ".gif": "a GIF picture",
    ".bmp": "a BMP picture",
    ".tif": "a TIFF picture",
    ".tiff": "a TIFF picture",
    ".jp2": "a JPEG 2000 picture",
    ".psd": "a Photoshop file",
    ".svg": "a drawing (SVG)",
    **dict.fromkeys(
        (
            *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr"),
            *(".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf"),
            *(".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
        ),
        RAW,
    ),
}
VIDEO, PDF = "a video", "a PDF document"
_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\0\0\0\x0cJXL \r\n\x87\n": "a JPEG XL picture",
    b"\xff\x0a": "a JPEG XL picture",
    b"\0\0\0\x0cjP  \r\n\x87\n": "a JPEG 2000 picture",
    b"GIF8": "a GIF picture",
    b"8BPS": "a Photoshop file",
    b"%PDF": PDF,
    b"FUJIFILMCCD-RAW": RAW,
    b"IIRO": RAW,
    b"IIRS": RAW,
    b"MMOR": RAW,
    b"IIU\0": RAW,
    b"FOVb": RAW,
    b"II*\0": "a TIFF picture",
    b"MM\0*": "a TIFF picture",
    b"\x1aE\xdf\xa3": VIDEO,
}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_VIDEO = {b"qt  ", b"isom", b"iso2", b"mp41", b"mp42", b"avc1", b"M4V ", b"3gp4", b"3gp5", b"MSNV"}


def kind_of(start: bytes) -> str:
    """Return one of READ, else words for what the file is ("a GIF picture"); empty when its first
    bytes are those of nothing known here.

    start: the file's first bytes, of which ENOUGH are enough.
    """
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    if start[4:8] == b"ftyp":
        return _iso(start)
    if start[:2] == b"BM" and start[6:10] == bytes(4):
        return "a BMP picture"
    found = next((kind for mark, kind in _STARTS.items() if start.startswith(mark)), "")
    return RAW if found == "a TIFF picture" and start[8:10] == b"CR" else found


def not_read(kind: str, ending: str) -> str:
    """Return why a picture of a kind that is not in READ is not taken, and what to do; empty for
    what is no picture.

    kind: of `kind_of`. ending: of the file's name, such as ".dng".
    """
    named = OTHER_ENDINGS.get(ending.lower(), "")
    what = named if named == RAW and kind in ("a TIFF picture", "") else kind or named
    if what == RAW:
        return f"{what}, which is not read: develop it, and export it as JPEG"
    if what == VIDEO:
        return f"{what}: take a still from it, and save that as JPEG or PNG"
    if what == PDF:
        return f"{what}: save the photograph in it as JPEG or PNG"
    return f"{what}, which is not read: export it as JPEG or PNG" if what else ""


def _iso(start: bytes) -> str:
    """Return the kind of a file in an ISO container, by its brands."""
    end = min(int.from_bytes(start[:4], "big"), len(start))
    brands = {start[8:12], *(start[at : at + 4] for at in range(16, end - 3, 4))}
    if start[8:12] == b"crx ":
        return RAW
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    if brands & _HEIC:
        return "HEIC"
    return VIDEO if brands & _VIDEO else ""
