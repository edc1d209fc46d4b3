#!/usr/bin/env bash
# Installs the fonts that recipes of synthetic data draw with: about 25 families for Latin letters and 7 for Chinese (130 MB).
# Tests do without: they take what setup.sh installs.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

fonts=(
  fonts-dejavu fonts-liberation fonts-freefont-ttf fonts-lato fonts-open-sans fonts-roboto fonts-inconsolata fonts-cantarell
  fonts-crosextra-carlito fonts-crosextra-caladea fonts-linuxlibertine fonts-urw-base35 fonts-comfortaa
  fonts-noto-cjk fonts-wqy-microhei fonts-wqy-zenhei fonts-arphic-uming fonts-arphic-ukai
)
if ! dpkg -s "${fonts[@]}" > /dev/null 2>&1; then
  provide 'fonts to draw training data with' "apt-get update && apt-get install -y --no-install-recommends ${fonts[*]}"
fi
