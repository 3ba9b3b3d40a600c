// Package oauthclient fetches the tokens that a relay logs on to smart hosts
// with, by OAuth 2.0: set a [Source] as the Tokens of a [connector.NextHop]. It
// is a module of its own, since an application that logs on with passwords
// needs none of it.
//
// # Grants
//
// What a [Config] has decides how a token is asked for: a RefreshToken is
// exchanged (RFC 6749 section 6), a ServiceAccount signs for itself (RFC 7523
// section 2.1), and a client without either asks with its own credentials (RFC
// 6749 section 4.4), which are a secret or a certificate (RFC 7523 section
// 2.2). [Microsoft365], [Google] and [GoogleServiceAccount] fill a Config in;
// what they have left may be set before [New].
//
// # Tokens
//
// A token is kept until a minute before its end, or a tenth of its life if that
// is less, or until a host has refused it. One that says nothing of its end is
// kept until it is refused. If another one cannot be fetched before the end the
// old one is used until then, and ten seconds pass between two tries.
//
// # Errors
//
// Errors hold what the token server says, and neither tokens nor secrets. The
// relay takes all of them for failures that may pass: the mail waits for the
// operator.
//
// [connector.NextHop]:
// https://pkg.go.dev/github.com/postern-mail/postern/connector#NextHop
package oauthclient
