#!/bin/bash
# Makes FOLDER/pgbouncer, 1.21 or newer: the one on the PATH, else Debian's, with its libraries and loader, so that it runs
# beside those of the machine whatever their age.
#
#     get_pgbouncer.sh FOLDER
set -euo pipefail

oldest=1.21
newer_suite=trixie # the first with such a version
libraries='lib(c6|c-?ares|event|pam0g|ssl|systemd|audit1|cap|gcc-s1|zstd|crypt1|lz4|gcrypt|lzma|gpg-error)'

mkdir -p "$1" && cd "$1"
is_recent() { [[ $(printf '%s\n' "$oldest" "$1" | sort -V | head -1) == "$oldest" ]]; }

if found=$(command -v pgbouncer) && is_recent "$("$found" --version | sed -n 's/^PgBouncer //p')"; then
    ln -sf "$found" pgbouncer
    exit
fi

mkdir -p sources lists/partial archives/partial tree
options=(-qq -o Dir::State::lists="$PWD/lists" -o Dir::Cache="$PWD" -o APT::Sandbox::User=)
apt-get "${options[@]}" update || true
candidate=$(apt-cache "${options[@]}" policy pgbouncer | sed -n 's/^ *Candidate: //p')
if ! is_recent "${candidate:-0}"; then
    . /etc/os-release
    for file in $(grep -ls debian-archive-keyring /etc/apt/sources.list /etc/apt/sources.list.d/*); do
        sed "s/$VERSION_CODENAME/$newer_suite/g" "$file" > "sources/$(basename "$file")"
    done
    options+=(-o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$PWD/sources")
    apt-get "${options[@]}" update || true
fi
wanted=$(apt-cache "${options[@]}" depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
    --no-replaces --no-enhances pgbouncer | grep -E "^$libraries" | grep -v : | sort -u)
# shellcheck disable=SC2086 # several packages
apt-get "${options[@]}" download pgbouncer $wanted
for package in ./*.deb; do
    dpkg-deb -x "$package" tree
done
rm -rf lists archives sources ./*.deb ./*.bin
loader=$(find tree -name 'ld-linux*' | head -1)
cat > pgbouncer << END
#!/bin/sh
exec "$PWD/$loader" --library-path "$(dirname "$(find "$PWD/tree" -name 'libevent*.so*' | head -1)")" \\
    "$PWD/tree/usr/sbin/pgbouncer" "\$@"
END
chmod +x pgbouncer
is_recent "$(./pgbouncer --version | sed -n 's/^PgBouncer //p')"
