package admin

import (
	"log/slog"
	"net/http"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
)

// Config says what a handler shows, and to whom.
type Config struct {
	// Relay is the relay to show. Required.
	Relay *relay.Relay

	// Verifier decides on the user names and passwords of HTTP Basic
	// authentication, which are taken inside TLS or from a loopback address
	// only, all the way: a proxy elsewhere must come inside TLS too. The
	// handler has a Throttle of its own before it; where an attacker could try
	// the same users elsewhere, guard the Verifier with that Throttle too
	// ([auth.Throttle.Guard]). Browsers send the password with every request:
	// an expensive hash is worth an [auth.Cached]. This or Authorize is
	// required.
	Verifier auth.Verifier

	// Group is the group that a user of Verifier has to be in. Defaults to
	// none: whoever Verifier knows may look.
	Group string

	// Authorize reports whether a request may be answered, by the application's
	// own session. It is called by many goroutines at once, with the request as
	// it comes. One that goes by the remote address alone must also check
	// Request.Host, or pages of other sites could look by way of a name that
	// points here.
	Authorize func(*http.Request) bool

	// Operate reports whether a request that may look may change something too:
	// lift a throttle, try again or remove what was set aside. Request.URL.Path
	// tells which: /lift, /retry, /remove, or / whether the page offers them.
	// It is called by many goroutines at once. Defaults to nil: nobody may.
	Operate func(*http.Request) bool

	// Proxies are the addresses whose X-Forwarded-For and X-Forwarded-Proto are
	// believed. With a Verifier, or where the relay has RequireEncryption,
	// their requests must come inside TLS or from a loopback address. Defaults
	// to none.
	Proxies []connector.Range

	// RequireForwarded refuses requests from Proxies that do not say whom they
	// come from. Without it they come from the proxy itself, which may be a
	// loopback address. Defaults to false.
	RequireForwarded bool

	// Logger receives refused requests and what could not be shown. Defaults to
	// one that discards.
	Logger *slog.Logger
}
