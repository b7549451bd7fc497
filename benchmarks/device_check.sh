#!/usr/bin/env bash
# FLUX.2 klein 4B, Z-Image, SDXL and FLUX.1-dev at full size on one NVIDIA card of 80 GiB or more, in at most nine
# minutes, with random weights and no network: seconds of a step and of a picture (klein's distilled model in 4 steps,
# Z-Image-Turbo in 8), alone and in batches, with a LoRA, of a training step, by our code and by diffusers' own, and peak
# memory against the memory plan's estimate; of the first two also in fp8 and, with bitsandbytes, nf4.
#
#   bash benchmarks/device_check.sh --collect FOLDER     before: downloads the wheels that such a machine may lack (no torch)
#   bash benchmarks/device_check.sh [--wheels FOLDER] [--minutes 9] [--models flux2-klein,z-image,sdxl,flux-dev]
#       [--scripts FOLDER] [--their-packages FOLDER]
#   bash benchmarks/device_check.sh --tiny               the same code with tiny models on a CPU, two minutes
#
# --scripts: examples/dreambooth of a diffusers checkout, for the training step of klein and Z-Image by
# train_dreambooth_lora_flux2_klein.py and _z_image.py; without it that is skipped. They need torchvision: the machine's,
# or one in --their-packages.
#
# Seconds at most (benchmarks/device/__main__.py), in order of worth; what is left at the end is dropped, and named:
#
#   | model | ours | diffusers' | in all |
#   | flux2-klein | 120 | 95 | 215 |
#   | z-image | 150 | 115 | 480 |
#   | sdxl | 140 | 100 | what is left of 530 |
#   | flux-dev | 220 | 150 | none is left, unless the others are quick: --models flux-dev in a run of its own |
#
# It takes the machine's own Python with a CUDA build of torch: $PYTHON, .venv's, or one from the usual places. Results go
# to $OUT, or build/device_check: device_check.json, device_check.txt, the figures of each part. Exits with 1 when a part failed,
# naming it, and with 2 when there is no such Python.
set -euo pipefail
cd "$(dirname "$0")/.."

# What is imported beyond what comes with torch. A transformers of the machine's own will do: its wheel is as large as all
# of these. For Python 3.12 on Linux x86-64 unless WHEEL_PYTHON says otherwise.
WHEELS="diffusers peft accelerate safetensors pydantic pydantic_core annotated-types typing-inspection typing_extensions
importlib_metadata ${MORE_WHEELS:-}"
WHEEL_PYTHON=${WHEEL_PYTHON:-3.12}
MOST_BYTES=$((64 * 1024 * 1024)) # of the tree and the wheels together

collect() {
    local pins=() name
    for name in $WHEELS; do
        pins+=("$(grep -i "^$name==" requirements/constraints.txt)")
    done
    mkdir -p "$1"
    "${PYTHON:-python3}" -m pip download --quiet --no-deps --only-binary=:all: --implementation cp \
        --python-version "$WHEEL_PYTHON" --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
        --platform manylinux2014_x86_64 --dest "$1" "${pins[@]}"
    local wheels tree
    wheels=$(cat "$1"/*.whl | wc -c)
    tree=$(git ls-files -z | xargs -0 cat | wc -c)
    echo "$(ls "$1"/*.whl | wc -l) wheels, $((wheels / 1048576)) MiB; the tree has $((tree / 1048576)) MiB"
    if ((wheels + tree > MOST_BYTES)); then
        echo "Together more than $((MOST_BYTES / 1048576)) MiB: carry fewer wheels." >&2
        return 1
    fi
}

# The first Python that passes a test, in code.
python_with() {
    local found
    for found in ${PYTHON:-} .venv/bin/python python3 python /opt/*/.venv/bin/python3 /opt/*/bin/python3 \
        /opt/conda/bin/python /usr/local/bin/python3 /usr/bin/python3; do
        if command -v "$found" >/dev/null && "$found" -c "$1" >/dev/null 2>&1; then
            command -v "$found"
            return 0
        fi
    done
    return 1
}

tiny="" wheels="" minutes=9 more=()
while (($#)); do
    case $1 in
    --collect) collect "$2"; exit ;;
    --wheels) wheels=$2; shift 2 ;;
    --minutes) minutes=$2; shift 2 ;;
    --models) more+=("$1" "$2"); shift 2 ;;
    --scripts | --their-packages) more+=("$1" "$(realpath "$2")"); shift 2 ;;
    --tiny) tiny=--tiny; shift ;;
    *) sed -n '2,26s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
done

began=$SECONDS
if [ -n "$tiny" ]; then
    test='import torch'
else
    test='import sys, torch; sys.exit(not torch.cuda.is_available())'
fi
if ! python=$(python_with "$test"); then
    echo "NOTHING WAS MEASURED: no Python here has torch${tiny:- with CUDA}. PYTHON names one." >&2
    command -v nvidia-smi >/dev/null && nvidia-smi -L >&2 || echo "nvidia-smi is not there, either." >&2
    exit 2
fi
echo "$python: $("$python" -c 'import sys, torch; print(sys.version.split()[0], "torch", torch.__version__)')"
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
if [ -n "$wheels" ]; then
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$wheels"/*.whl
fi
export PYTHONPATH="$site:$PWD" PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 AVATAR_LOCKS="$site/locks"
if [ -n "$tiny" ]; then export OMP_NUM_THREADS=1; fi # threads would wait for each other on a busy machine
mkdir -p "$AVATAR_LOCKS"
left=$("$python" -c "print($minutes - ($SECONDS - $began) / 60)")
"$python" -m benchmarks.device --out "${OUT:-build/device_check}" --minutes "$left" $tiny ${more[@]+"${more[@]}"}
