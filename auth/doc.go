// Package auth tells who a client is.
//
// A [Verifier] decides on the [Proof] a client has shown and answers with an
// [Identity]: the user, the groups that grants may name, and the addresses the
// user may send as. Verifiers that come with the package: [Static] for tests
// and demonstrations, [Htpasswd] for a file of password hashes, [SQL] for a
// database, [Keyring] for the applications and devices that have a [Credential]
// of their own, and [VerifierFunc] for everything else. A user sends as the
// user name if that is an address; [WithSenders] and [SCRAMWithSenders] add
// other addresses. [Cached] remembers what a Verifier has said, and a
// [Throttle] keeps those away who guess. A [Hasher] checks passwords without
// taking more than its share of the processors. The modules auth/ldapauth and
// auth/oidcauth verify users of LDAP directories and tokens of OpenID Connect
// providers.
//
// A [Server] runs the exchanges of the SASL mechanisms: PLAIN and LOGIN,
// SCRAM-SHA-256 with and without channel binding, OAUTHBEARER and XOAUTH2, and
// EXTERNAL. It offers a [Mechanism] that shows a secret only inside TLS unless
// its connector says otherwise.
//
// # Errors
//
// [ErrBadCredentials] means no: the client is told 535 5.7.8. Any other error
// means that nobody knows at present: the client is told 454 4.7.0, and the
// text of the error goes to the log only.
//
// # Security
//
// The verifiers of this package answer an unknown user in the same way and
// after the same work as a wrong password. They refuse names that
// [Proof.Check] refuses. Passwords are left out when a [Proof] is printed or
// logged.
//
// Names are prepared before they are compared or logged: see [PrepareName].
// Passwords are compared as they come; only SCRAM prepares them too.
//
// # Concurrency
//
// A Verifier is called by many sessions at once. All types of this package
// are safe for that.
package auth
