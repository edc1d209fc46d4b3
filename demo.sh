#!/usr/bin/env bash
# Asks a small model about a few pictures, offline: the quickest way to see the project work.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source scripts/setup.sh

dotnet build -c Release -v quiet --nologo src/VlmSharp.Cli
vlm=src/VlmSharp.Cli/bin/Release/net10.0/vlm
demo=tests/goldens/reader-ref

ask() {
  echo
  echo "> $2  ($1)"
  "$vlm" ask "$demo/checkpoint" --image "$demo/media/$1" "$2"
}

echo "A model of 3.8 million weights, trained on drawn pictures of words and shapes:"
"$vlm" inspect "$demo/checkpoint"
ask t110.png "Read the text."
ask t028.png "Read the text."
ask t023.png "What is in the picture?"
ask t003.png "How many squares are there?"

echo
echo "The same, as a program would read it:"
"$vlm" ask "$demo/checkpoint" --image "$demo/media/t101.png" "What is in the picture?" --json

echo
echo "And the proof that every number equals what the reference implementation computed:"
"$vlm" verify tests/goldens/qwen2-vl | tail -n 1
"$vlm" verify "$demo" | tail -n 1
