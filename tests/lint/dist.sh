#!/bin/sh
# Every file in git is in the release, but for those named here.
# usage: dist.sh TARBALL (from the top of a git checkout)
cd "${top_srcdir:-.}" || exit 1
except='^(\.gitignore|\.ci/.*|\.clang-format|autogen\.sh)$'

if ! git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
	echo '1..0 # SKIP needs a git checkout'
	exit 0
fi
missing=$(git ls-files | grep -vE "$except" | sort |
	comm -23 - "$(tar -tf "$1" | sed 's|^[^/]*/||' | sort >"$1.list"
		echo "$1.list")")
rm -f "$1.list"
echo 1..1
if [ -z "$missing" ]; then
	echo 'ok 1 - the release has every file'
else
	echo 'not ok 1 - the release has every file'
	printf '%s\n' "$missing" | sed 's/^/# not in Makefile.am: /'
fi
