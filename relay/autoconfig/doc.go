// Package autoconfig tells mail programs the settings that they would otherwise
// ask their users for, from the connectors of a running relay.
//
// [New] makes a [Handler], which the application mounts on its web server. It
// answers
//
//	/.well-known/autoconfig/mail/config-v1.1.xml
//	/mail/config-v1.1.xml                on autoconfig.<domain>
//	     Thunderbird, Evolution, KMail, K-9
//	/autodiscover/autodiscover.xml       Outlook: Autodiscover, plain XML
//	/autodiscover/autodiscover.json      Outlook: Autodiscover v2
//	/email.mobileconfig?email=<address>  Apple: a configuration profile
//	/.well-known/mta-sts.txt             other mail servers: the MTA-STS policy
//	                                     (RFC 8461)
//
// in any mix of capitals, since programs do not agree on them.
// [Handler.Records] returns what to publish in the DNS, so that programs find
// the servers (RFC 6186, RFC 8314) and the handler.
//
// # What is published
//
// A server is published for every binding of a connector on which users log on
// inside TLS: implicit TLS first, then STARTTLS. A connector without TLS never
// is, nor is any while the relay has no certificate. Each request reads the
// connectors anew, so answers follow [relay.Relay.Reload].
//
// The ways to log on are those of the relay's [auth.Server], as far as a format
// has words for them.
//
//	Passwords     all formats
//	Tokens        Thunderbird: OAuth2, after passwords; programs use it where
//	              they know the provider
//	SCRAM         none: what Thunderbird's format calls password-encrypted is
//	              CRAM-MD5 to programs
//	Certificates  none: programs do not know the word TLS-client-cert
//
// A server on which users log on in no way that a format has a word for is left
// out of it: Outlook and Apple get settings from a relay that takes passwords,
// Thunderbird from one that takes passwords or tokens. The DNS records name
// every server.
//
// A relay has no mailboxes to read, but Thunderbird and K-9 reject settings
// without an incoming server, and Apple's profile is not valid without one:
// they get none (404) until [Options.Incoming] names it.
//
// # Mounting
//
// Outlook writes its path in several ways, and patterns of [http.ServeMux] heed
// capitals. It is simplest to give the handler whole hosts:
//
//	mux.Handle("autoconfig.example.com/", settings)
//	mux.Handle("autodiscover.example.com/", settings)
//	mux.Handle("mta-sts.example.com/", settings)
//
// Each of these names needs an address in the DNS and a place in the web
// server's certificate.
//
// # Security
//
// Settings that an attacker can change send passwords to the attacker, so the
// handler answers over TLS only; see [Options.Secure]. Plain HTTP gets 403 and
// no redirect, for what was asked in the clear may be answered by anybody. An
// answer depends on the domain of an address alone: it tells nobody whether a
// user exists. No answer holds a password. Profiles are not signed; to sign
// them, wrap the handler and put its answer into a PKCS #7 message, which needs
// a certificate that devices trust.
package autoconfig
