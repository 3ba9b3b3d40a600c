#!/usr/bin/env bash
# Installs the Debian packages that tests and benchmarks drive: Postfix (its load tools, and
# as a real peer), swaks, curl, htpasswd, Chromium, PostgreSQL and pgbouncer, OpenLDAP, and
# readers of XML, property lists and zone files; more mail clients, proxies and next hops;
# readers of reports and verifiers of DKIM; and nodemailer, smtp-server, a validator of
# OpenAPI and PostgreSQL 14 from npm.
# Does nothing when all are there.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }
need smtp-source postfix
need swaks swaks
perl -MNet::SSLeay -e1 2>/dev/null || missing+=(libnet-ssleay-perl)
perl -MIO::Socket::SSL -e1 2>/dev/null || missing+=(libio-socket-ssl-perl)
perl -MAuthen::SASL -e1 2>/dev/null || missing+=(libauthen-sasl-perl)
need msmtp msmtp
need curl curl
need node nodejs
need npm npm
compgen -G '/usr/lib/*/sasl2/libplain.so' >/dev/null || missing+=(libsasl2-modules)
need htpasswd apache2-utils
need chromium chromium
need xmllint libxml2-utils
need plistutil libplist-utils
need ldns-read-zone ldnsutils
# The modules below are Debian's, and so is their Python, whatever python3 is.
module() { [ -x /usr/bin/python3 ] && /usr/bin/python3 -c "import $1" 2>/dev/null || missing+=("$2"); }
[ -x /usr/bin/python3 ] || missing+=(python3)
module dkim python3-dkim
module nacl python3-nacl
module flufl.bounce python3-flufl.bounce
module aiosmtplib python3-aiosmtplib
module aiosmtpd python3-aiosmtpd
perl -MSisimai -e1 2>/dev/null || missing+=(libsisimai-perl)
need opendkim opendkim
need opendkim-testmsg opendkim-tools
need haproxy haproxy
need nginx nginx
[ -e /usr/lib/nginx/modules/ngx_mail_module.so ] || missing+=(libnginx-mod-mail)
need stunnel4 stunnel4
need gsasl gsasl
need php php-cli
[ -e /usr/share/php/libphp-phpmailer/src/PHPMailer.php ] || missing+=(libphp-phpmailer)
need javac default-jdk-headless
[ -e /usr/share/java/javax.mail.jar ] || missing+=(libmail-java)
need ruby ruby
ruby -e 'require "net/smtp"' 2>/dev/null || missing+=(ruby-net-smtp)
need slapd slapd
need ldappasswd ldap-utils
compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
need pgbouncer pgbouncer

# What comes over a network may fail for a moment.
again() {
	for pause in 5 20 60; do
		"$@" && return
		sleep $pause
	done
	"$@"
}

install_missing() {
	if ! command -v apt-get >/dev/null; then
		echo "please install: ${missing[*]}" >&2
		return 1
	fi
	as_root=()
	[ "$(id -u)" = 0 ] || as_root=(sudo)

	# Postfix comes without a configuration, and nothing that is installed here is started.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" install -m 755 /dev/stdin $policy
		trap '"${as_root[@]}" rm -f $policy' EXIT
	fi
	echo "postfix postfix/main_mailer_type select No configuration" | "${as_root[@]}" debconf-set-selections
	again "${as_root[@]}" apt-get update -q
	again "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
		install -qy --no-install-recommends "${missing[@]}"
}
[ ${#missing[@]} -eq 0 ] || install_missing

packages() {
	[ "$1/node_modules/.package-lock.json" -nt "$1/package-lock.json" ] ||
		again npm --prefix "$1" ci --ignore-scripts --no-audit --no-fund
}
top=$(dirname "$0")/..
packages "$top/examples/internal/peertest/node"
# The oldest PostgreSQL that the queue works on, of which Debian has later ones only.
[ "$(uname -sm)" != "Linux x86_64" ] || packages "$top/relay/spool/pgspool/testdata/postgresql14"
