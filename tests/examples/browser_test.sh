#!/bin/bash
# browser_test.sh: a headless Chromium loads a page with pictures from the example server's directory. A script in the page
# writes into it what it drew: the width of each picture, and the colour of a pixel of it. That is what is compared; a
# picture that did not arrive has width 0. Needs ./setup.sh --browser. Optional argument: the path of the http_server.
set -euo pipefail

server=${1:-examples/http_server}
chromium=$(command -v chromium) || { echo "browser_test: no chromium here; ./setup.sh --browser installs it" >&2; exit 1; }
work=$(mktemp -d)
server_pid=
trap '[[ -z $server_pid ]] || kill -KILL "$server_pid" 2>/dev/null || true; rm -rf "$work"' EXIT

mkdir "$work/site" "$work/profile"
# Four PNG files of one colour each, 200 x 150, and a larger one of noise, which does not fit one send.
python3 - "$work/site" <<'PYTHON'
import os, struct, sys, zlib

def png(name, width, height, pixel):
    rows = b"".join(b"\0" + b"".join(pixel() for _ in range(width)) for _ in range(height))
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    with open(os.path.join(sys.argv[1], name), "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
                + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))

for name, colour in (("red", (255, 0, 0)), ("green", (0, 128, 0)), ("blue", (0, 0, 255)), ("a b", (255, 255, 0))):
    png(name + ".png", 200, 150, lambda: bytes(colour))
png("noise.png", 600, 500, lambda: os.urandom(3))
PYTHON
cat >"$work/site/index.html" <<'HTML'
<!doctype html><html><head><title>pictures</title><link rel="stylesheet" href="style.css"></head><body>
<img src="red.png"><img src="green.png"><img src="blue.png"><img src="a%20b.png"><img src="noise.png">
<p id="seen">nothing</p><script src="look.js"></script></body></html>
HTML
echo 'p { color: rgb(1, 2, 3); }' >"$work/site/style.css"
cat >"$work/site/look.js" <<'JS'
addEventListener("load", () => {
  const seen = [...document.images].map((image) => {
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    const context = canvas.getContext("2d");
    if (!image.naturalWidth) return "missing";
    context.drawImage(image, 0, 0);
    const pixel = image.naturalWidth == 200 ? [...context.getImageData(100, 75, 1, 1).data].slice(0, 3).join(",") : "noise";
    return image.naturalWidth + "x" + image.naturalHeight + ":" + pixel;
  });
  const p = document.getElementById("seen");
  p.textContent = seen.join(" ") + " style " + getComputedStyle(p).color;
});
JS

"$server" --port=0 --directory="$work/site" >"$work/out" 2>"$work/err" &
server_pid=$!
for ((i = 0; i < 100; ++i)); do
  grep -q '^listening on ' "$work/out" && break
  sleep 0.1
done
address=$(sed -n 's/^listening on //p' "$work/out")
[[ -n $address ]] || { echo "browser_test: the server does not listen" >&2; exit 1; }

# No sandbox: tests may run as root, where Chromium refuses it. The page is our own.
page=$(timeout 120 "$chromium" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir="$work/profile" \
  --virtual-time-budget=20000 --dump-dom "http://$address/files/" 2>"$work/chromium.log") ||
  { tail -n 20 "$work/chromium.log" >&2; echo "browser_test: chromium failed" >&2; exit 1; }
seen=$(sed -n 's/.*<p id="seen">\([^<]*\)<.*/\1/p' <<<"$page")
wanted='200x150:255,0,0 200x150:0,128,0 200x150:0,0,255 200x150:255,255,0 600x500:noise style rgb(1, 2, 3)'

kill -TERM "$server_pid"
wait "$server_pid" || { echo "browser_test: the server left with $?" >&2; exit 1; }
server_pid=
if [[ $seen != "$wanted" ]]; then
  printf 'browser_test: the page shows\n  %s\nbut should show\n  %s\n' "$seen" "$wanted" >&2
  exit 1
fi
echo "browser_test: the page shows $seen"
