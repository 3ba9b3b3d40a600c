package connector

import (
	"context"
	"reflect"
	"strings"
)

// TokenSource gives the tokens that a relay logs on to smart hosts with, by
// OAuth 2.0: the module auth/oauthclient has those of Microsoft 365, Google and
// others. It must be safe for concurrent use.
type TokenSource interface {
	// Token returns the token to log on with. refused is one that the host has
	// just refused, which must not be returned again: another one has to be
	// fetched if none is there. It is empty before the first try. The relay
	// waits for 30 seconds at most, with one call at a time for a next hop,
	// and takes an error for a failure that may pass.
	Token(ctx context.Context, refused string) (string, error)
}

func (h *NextHop) validateCredentials(fault report) {
	if h.Tokens != nil {
		h.validateTokens(fault)
	}
	secret := h.Password != "" || h.Tokens != nil
	switch {
	case h.Username == "" && !secret:
		return
	case h.Username == "" && h.Password != "":
		fault("Username", "missing; there is a Password")
	case h.Username == "":
		fault("Username", "missing; there are Tokens")
	}
	if strings.ContainsFunc(h.Username, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		fault("Username", "%q has control characters", h.Username)
	}
	if len(h.Hosts) == 0 {
		fault("Username", "needs smart hosts; credentials are not for any mail exchanger")
	}
	switch {
	case secret:
		h.validateReceiver(fault)
	case len(h.Certificates) == 0:
		fault("Password", "missing; there is a Username")
	}
}

func (h *NextHop) validateTokens(fault report) {
	if h.Password != "" {
		fault("Tokens", "there is a Password; set one of them")
	}
	if !reflect.ValueOf(h.Tokens).Comparable() {
		fault("Tokens", "%T cannot be compared with another; use a pointer", h.Tokens)
	}
}

// validateReceiver checks who may get the password or the token.
func (h *NextHop) validateReceiver(fault report) {
	what := "password"
	if h.Tokens != nil {
		what = "token"
	}
	switch {
	case h.AllowPlaintextAuth || len(h.Hosts) == 0:
	case h.TLS == TLSNone:
		fault(
			"Username",
			"needs TLS to be sent; choose another TLS level, or set AllowPlaintextAuth on a "+
				"network that nobody else can read",
		)
	case h.TLS != TLSDomainValidation && !h.AllowUnverifiedAuth:
		fault("Username", "the %s would go to whoever answers; set TLS to DomainValidation "+
			"and TLSDomain to the name in the smart host's certificate, or set "+
			"AllowUnverifiedAuth", what)
	}
}
