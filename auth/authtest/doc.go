// Package authtest holds the conformance suite of [auth.CredentialStore]: every
// store passes it.
//
//	func TestCredentials(t *testing.T) {
//		authtest.RunCredentialStore(t, func(t *testing.T) auth.CredentialStore {
//			return mystore.New(…)
//		})
//	}
//
// Its own tests are those of package auth against real databases: SQLite, and a
// PostgreSQL server that they start. It is a module of its own, so that their
// drivers burden nobody else.
//
// [auth.CredentialStore]:
// https://pkg.go.dev/github.com/postern-mail/postern/auth#CredentialStore
package authtest
