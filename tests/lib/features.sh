#!/usr/bin/env bash
# Fails if the program, built as for a release, enables a feature.
#
#   tests/lib/features.sh PACKAGE FEATURE
set -euo pipefail
enabled=$(cargo tree --package "$1" --edges no-dev --depth 0 --format '{f}' --locked)
echo "features of $1: $enabled"
case ,$enabled, in *,gateway,*) ;; *) echo 'expected the feature gateway among them'; exit 1 ;; esac
case ,$enabled, in *,"$2",*) echo "expected no feature $2"; exit 1 ;; esac
