#!/bin/sh
# A deploy hook of certbot for tidegate: copies a renewed certificate and its key to where the gateway's user may read them.
#
#   install -m 0755 certbot-deploy-hook.sh /etc/letsencrypt/renewal-hooks/deploy/tidegate
#
# certbot runs it as root after each renewal, with RENEWED_LINEAGE=/etc/letsencrypt/live/NAME. The copies are
# /etc/tidegate/certificates/NAME/fullchain.pem and privkey.pem. A running gateway sees the change and needs no reload: it waits
# until both files belong together.
#
# From the environment:
#   TIDEGATE_CERTIFICATES   the folder for the copies, by default /etc/tidegate/certificates
#   TIDEGATE_GROUP          the group that may read them, by default tidegate
#   TIDEGATE_NAMES          the names of the certificates to copy, with blanks between them; by default all that are renewed
set -eu
# nothing is readable for others, not even for a moment
umask 077

folder=${TIDEGATE_CERTIFICATES:-/etc/tidegate/certificates}
group=${TIDEGATE_GROUP:-tidegate}

fail() { echo "tidegate deploy hook: $1" >&2; exit 1; }

[ -n "${RENEWED_LINEAGE:-}" ] || fail 'RENEWED_LINEAGE is not set: certbot sets it to the folder of the renewed certificate'
name=$(basename -- "$RENEWED_LINEAGE")
case " ${TIDEGATE_NAMES:-$name} " in
  *" $name "*) ;;
  *) exit 0 ;;
esac
for file in fullchain.pem privkey.pem; do
  [ -r "$RENEWED_LINEAGE/$file" ] || fail "$RENEWED_LINEAGE/$file can't be read"
done

mkdir -p -- "$folder/$name"
chgrp -- "$group" "$folder" "$folder/$name" || fail "the group $group can't be given to $folder"
chmod 0750 "$folder" "$folder/$name"

# Each file appears at once: written beside its place, then renamed.
next=$(mktemp -- "$folder/$name/.next.XXXXXX")
trap 'rm -f -- "$next"' EXIT
for file in fullchain.pem privkey.pem; do
  cat -- "$RENEWED_LINEAGE/$file" >"$next"
  chgrp -- "$group" "$next"
  chmod 0640 "$next"
  mv -f -- "$next" "$folder/$name/$file"
  : >"$next"
done
