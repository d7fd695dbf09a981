#!/bin/bash
# Opens a run's report.html in headless Chromium: fails if the browser complains or a part of the page is not drawn. With a second argument it
# writes a picture of the whole page there.
#   tools/look-at-report.sh runs/digits/report.html [docs/report.png]
set -euo pipefail

report=$(realpath "$1")
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || {
    echo "no Chromium: install it (apt-get install chromium)" >&2
    exit 1
}
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
chromium=("$browser" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars "--user-data-dir=$profile")

"${chromium[@]}" --enable-logging=stderr --dump-dom "file://$report" >"$profile/dom" 2>"$profile/log"
if grep -F ':CONSOLE' "$profile/log"; then
    echo "$report: the browser complains" >&2
    exit 1
fi
# What the parser made of it: every part is there, of some the one that is its task's, and no picture is broken off.
for part in 'Learning curves' '(Confusion|Pixels|Scores)' '(worst mistakes|worst masks|Scores)' 'Layers' 'Memory' 'Targets' 'Recipe'; do
    grep -qE "<h2>[^<]*$part" "$profile/dom" || { echo "$report: no section $part" >&2; exit 1; }
done
[ "$(grep -c '<svg' "$profile/dom")" -ge 4 ] || { echo "$report: too few drawings" >&2; exit 1; }
tail -1 "$profile/dom" | grep -q '</html>' || { echo "$report: cut off" >&2; exit 1; }

if [ $# -ge 2 ]; then
    # The whole page: a copy of it that says how high it is.
    cp "$report" "$profile/page.html"
    echo '<script>document.title = document.documentElement.scrollHeight</script>' >>"$profile/page.html"
    height=$("${chromium[@]}" --window-size=1100,800 --dump-dom "file://$profile/page.html" 2>/dev/null | grep -oE '<title>[0-9]+' | grep -oE '[0-9]+')
    "${chromium[@]}" "--window-size=1100,$((height + 40))" "--screenshot=$2" "file://$report" 2>/dev/null
fi
echo "$report: looks right"
