"""The readiness checks as a table: what is measured, what passes, how bad a failure is, where the
number comes from, what to do.

A value inside [low, high] passes, one outside [error_low, error_high] is an error, one between is a
warning. A side without a limit is infinite; a rule without error limits only warns. "derived" is
arithmetic on LivePortrait's code, "proposal" has no published source.
"""

from __future__ import annotations

from avatar_pipeline.faces.check import Rule

CONTRACT = "LivePortrait input contract"  # its sections: docs/reference/contracts.md
OFIQ = "BSI-OFIQ/OFIQ-Project, image_utils.cpp (ISO/IEC 29794-5)"

_TABLE = (
    Rule(
        "decodable",
        "yes/no",
        "LivePortrait loads with cv2.imread (io.py)",
        low=1,
        error_low=1,
        hint="The file is none that cv2.imread reads: save it as a JPG or PNG.",
    ),
    Rule(
        "alpha",
        "yes/no",
        "cv2.imread drops alpha (io.py)",
        low=1,
        hint="The picture has transparent parts, which LivePortrait ignores: flatten it onto a "
        "plain background.",
    ),
    Rule(
        "resolution",
        "px",
        f"{CONTRACT}, section 1: 1024; error: its network's 256",
        low=1024,
        error_low=256,
        hint="The shorter side has {value} pixels: use a larger original, of at least 1024.",
    ),
    Rule(
        "face_found",
        "faces",
        "LivePortrait raises without a face (cropper.py)",
        low=1,
        error_low=1,
        hint="No face was found: choose a picture of one person who looks into the camera.",
    ),
    Rule(
        "confident_face",
        "yes/no",
        "LivePortrait takes the largest box (face_analysis_diy.py)",
        low=1,
        error_low=1,
        hint="The largest find, which LivePortrait would animate, is not the surest face: crop "
        "the picture to the face you mean.",
    ),
    Rule(
        "single_face",
        "share",
        "2nd to 1st face by area, proposal",
        high=0,
        error_high=0.25,
        hint="There is a second face, {value} of the size of the first: crop it away, or choose a "
        "picture of one person.",
    ),
    Rule(
        "face_pixels",
        "px",
        "derived: 223 fills the 512 px crop; error: below what animators ship",
        low=223,
        error_low=64,
        hint="LivePortrait would see a face of {value} pixels and enlarge it: come closer, or use "
        "a larger original.",
    ),
    Rule(
        "inter_eye",
        "px",
        "ISO/IEC 29794-5: 90; error: a face of 64 px",
        low=90,
        error_low=27,
        hint="The eyes are {value} pixels apart: come closer, or use a larger original.",
    ),
    Rule(
        "min_face",
        "px",
        f"{CONTRACT}, section 5: 64",
        low=64,
        error_low=64,
        hint="The face is only {value} pixels wide or high: come closer, or use a larger original.",
    ),
    Rule(
        # 0.005: pictures cut exactly at their crop's edge and analyzed again read up to that, for
        # the landmarks move by a pixel. LivePortrait ships a source with 0.288 and animates it,
        # black corners and all (benchmarks/animator_examples.py); openpeople's have up to 0.146.
        "crop_inside",
        "share",
        "LivePortrait's crop replayed (crop.py); error: half of it is missing",
        high=0.005,
        error_high=0.5,
        hint="{value} of LivePortrait's crop lies outside the picture and turns black: leave more "
        "room around the head.",
    ),
    Rule(
        "centered_x",
        "share of width",
        "proposal",
        low=0.35,
        high=0.65,
        hint="The face is far to the left: centre it, or crop the picture.",
        hint_high="The face is far to the right: centre it, or crop the picture.",
    ),
    Rule(
        "centered_y",
        "share of height",
        "proposal",
        low=0.25,
        high=0.60,
        hint="The face is at the very top: leave room above the head.",
        hint_high="The face is low in the picture: crop away the empty space above the head.",
    ),
    Rule(
        "yaw",
        "deg",
        "proposal; error: the far eye is hidden, LivePortrait issues 190, 417",
        low=-15,
        high=15,
        error_low=-45,
        error_high=45,
        hint="The head is turned by {value} degrees to the picture's left: let the person face "
        "the camera.",
        hint_high="The head is turned by {value} degrees to the picture's right: let the person "
        "face the camera.",
    ),
    Rule(
        "pitch",
        "deg",
        "proposal; error: as yaw",
        low=-15,
        high=15,
        error_low=-45,
        error_high=45,
        hint="The head is lowered by {value} degrees: hold the camera at eye level and let the "
        "person look into it.",
        hint_high="The head is raised by {value} degrees: hold the camera at eye level and let "
        "the person look into it.",
    ),
    Rule(
        "roll",
        "deg",
        "proposal",
        low=-20,
        high=20,
        hint="The head is tilted by {value} degrees to the picture's left: let the person hold it "
        "upright, or rotate the picture.",
        hint_high="The head is tilted by {value} degrees to the picture's right: let the person "
        "hold it upright, or rotate the picture.",
    ),
    Rule(
        "eyes_open",
        "share of the eye's width",
        "Soukupova and Cech 2016, and the iris seen; measured on openpeople",
        low=0.20,
        error_low=0.15,
        hint="An eye is open by {value} of its width only (30 % is usual): choose a frame with "
        "both eyes open.",
    ),
    Rule(
        "mouth_closed",
        "share",
        "inner lips to mouth width; measured on openpeople",
        high=0.10,
        error_high=0.25,
        hint="The mouth is open by {value} of its width: close it, or choose another frame.",
    ),
    Rule(
        # openpeople: untouched 0.033 and more, blurred by 1 % of the inter-eye distance
        # 0.010-0.031, by 2 % below 0.007.
        "sharpness",
        "ratio",
        "Laplacian variance of the aligned face, measured on openpeople",
        low=0.008,
        hint="The face is blurred: focus on the eyes, use a shorter exposure, or choose a sharper "
        "frame.",
    ),
    Rule(
        # Untouched, openpeople's faces have up to 3.9 (a beard; 3.6 without); Gaussian noise of 4
        # grey levels reads 2.8 to 4.6, of 8 grey levels 5.4 to 6.8: benchmarks/readiness.py.
        "noise",
        "grey levels",
        "Immerkaer 1996; measured on openpeople",
        high=5,
        hint="The face is grainy: photograph with more light or a lower ISO, or choose a cleaner "
        "frame.",
    ),
    Rule(
        # Untouched, openpeople's JPEG files have 1.3 to 2.6, those of quality 70 the most; saved
        # again at LivePortrait's crop size with quality 50 they have 2.0 to 2.8, with 20 3.0 to
        # 3.9: benchmarks/readiness.py.
        "compression",
        "ratio",
        "jumps at the JPEG grid; measured on openpeople",
        high=2.8,
        hint="The picture was compressed until its 8-pixel blocks show: use the original, or save "
        "it with a higher quality.",
    ),
    Rule(
        # OFIQ's own map gives 100 of 100 up to 0.6. A limit of 0.25 fires on six of openpeople's
        # ten evenly lit portraits, for dark skin and beards (up to 0.50); darkened to 60 % of their
        # grey levels, nine of ten pass 0.6.
        "exposure_dark",
        "share",
        OFIQ,
        high=0.60,
        hint="{value} of the face is very dark: add light from the front.",
    ),
    Rule(
        "exposure_bright",
        "share",
        OFIQ,
        high=0.02,
        hint="{value} of the face is burnt out: reduce the light or the exposure.",
    ),
    Rule(
        # 0.2 is where OFIQ's map gives 50 of 100, where half of those portraits fail for their
        # skin; they have 0.165 and more.
        "luminance_mean",
        "share of white",
        OFIQ,
        low=0.15,
        high=0.8,
        hint="The face is dark on the whole, with {value} of the light of white: add light from "
        "the front, or expose longer.",
        hint_high="The face is very bright on the whole, with {value} of the light of white: "
        "reduce the light or the exposure.",
    ),
    Rule(
        "illumination",
        "0-100",
        OFIQ,
        low=50,
        hint="The two cheeks are lit very differently ({value} of 100): light the face from the "
        "front, or from both sides.",
    ),
    Rule(
        "dynamic_range",
        "bits",
        OFIQ,
        low=5,
        hint="The face has little contrast ({value} bits): avoid haze, back light and strong "
        "filters.",
    ),
    Rule(
        # No limit: a restless background does not hurt the animation. openpeople's studio portraits
        # have 12 to 83, the selfies 104 to 635.
        "background",
        "Sobel",
        "BSI-OFIQ BackgroundUniformity.cpp, outside an estimated head; "
        f"{CONTRACT}, section 1: not critical",
        hint="",
    ),
    Rule(
        "occlusion",
        "share",
        "LivePortrait warps glasses, hats and hands with the face",
        hint="",
    ),
    Rule(
        "reload",
        "yes/no",
        "verdicts of the exported bytes against those of the picture",
        low=1,
        error_low=1,
        hint="The exported file gets other verdicts than the picture it was made from: export "
        "with less compression.",
    ),
)

RULES: dict[str, Rule] = {rule.name: rule for rule in _TABLE}


def identity_rule(same_person: float, uncertain: float) -> Rule:
    """Return the rule for the distance to a person's reference photographs, with the thresholds of
    the analyzer that measured it.
    """
    return Rule(
        "identity",
        "distance",
        "the analyzer's operating point",
        high=same_person,
        error_high=uncertain,
        hint="This face is {value} from the actor's photographs and reads as somebody else: "
        "choose another picture.",
    )
