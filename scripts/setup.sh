#!/usr/bin/env bash
# Makes sure that what the project needs is on the machine. Sourced by demo.sh, test.sh and .ci/run.

# Where administrators' programs are, for users whose path leaves it out.
PATH=$PATH:/usr/sbin:/sbin

need() { command -v "$1" > /dev/null 2>&1; }

if ! need dotnet; then
  echo "The .NET 10 SDK is needed: https://dotnet.microsoft.com/download" >&2
  exit 1
fi

# Not grep -q: it would end before ldconfig has written all, which pipefail takes for a failure.
have_library() { ldconfig -p 2> /dev/null | grep "$1" > /dev/null; }

# provide WHAT COMMAND: installs it where that may be done, or says how.
provide() {
  local log
  if [ "$(id -u)" = 0 ] && need apt-get; then
    echo "Installing $1 ..." >&2
    if ! log=$(DEBIAN_FRONTEND=noninteractive bash -c "$2" 2>&1); then
      echo "$log" >&2
      exit 1
    fi
  else
    echo "$1 are needed. Install them with:" >&2
    echo "  sudo sh -c '$2'" >&2
    exit 1
  fi
}

# OpenSlide, for slides of microscopes, comes with it.
if ! have_library 'libvips\.so\.42' && [ -z "${VLM_LIBVIPS:-}" ]; then
  # Ubuntu 24.04 and later carry the library under another package name.
  provide 'the parts of libvips that read pictures' \
    'apt-get update && (apt-get install -y --no-install-recommends libvips42 || apt-get install -y --no-install-recommends libvips42t64)'
fi

if ! need ffmpeg || ! need ffprobe; then
  provide 'ffmpeg and ffprobe, which read films,' 'apt-get update && apt-get install -y --no-install-recommends ffmpeg'
fi

if ! need pdftoppm || ! need pdfinfo || ! need pdftotext; then
  # With the character maps of Chinese, Japanese and Korean, and with fonts as wide as those that PDFs may leave out.
  provide 'the programs of poppler, which read PDFs,' \
    'apt-get update && apt-get install -y --no-install-recommends poppler-utils poppler-data fonts-liberation'
fi

export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
