// Package ldapauth asks an LDAP directory, such as OpenLDAP or Active
// Directory, who a client is. It is a module of its own, so that only those who
// have a directory take on an LDAP client.
//
// A [Verifier] is an [auth.Verifier] that tries the user's password in a bind
// (RFC 4513 section 5.1.3), so that the directory's own rules hold: its hashes,
// its lock-outs, its expiries. It finds the entry of the user by a search, with
// the rights of an account for that, or composes its name from a template. The
// attributes of the entry make the identity.
//
// # Security
//
// Passwords cross the network inside TLS, or not at all unless [Config] allows
// it. An empty password never reaches the directory, which would take it for an
// anonymous bind and agree (RFC 4513 section 5.1.2). What clients give as a
// name is escaped, and never becomes a part of a filter or of another name.
// Referrals are not followed, since they lead to servers that nobody here has
// named.
//
// An unknown user costs as many requests as a wrong password. If the directory
// takes its time for a hash, name an entry as [Config].Decoy so that it takes
// it for unknown users too.
//
// # Failures
//
// Only an answer of the directory about the user is an
// [auth.ErrBadCredentials]. When no server can be reached, the search is
// refused, or the settings turn out to be wrong, the error is another one: the
// client is told to come back, and the log tells why. A server that fails is
// passed over for half a minute as long as there is another.
//
// Put [auth.Cached] before a Verifier when clients log on often.
//
// [auth.Cached]: https://pkg.go.dev/github.com/postern-mail/postern/auth#Cached
// [auth.ErrBadCredentials]:
// https://pkg.go.dev/github.com/postern-mail/postern/auth#ErrBadCredentials
// [auth.Verifier]:
// https://pkg.go.dev/github.com/postern-mail/postern/auth#Verifier
package ldapauth
