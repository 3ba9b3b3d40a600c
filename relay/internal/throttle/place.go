package throttle

import "github.com/postern-mail/postern/relay/bounce"

// Place is where a delivery goes to, and whose it is.
type Place struct {
	// Site is never empty. Source is the local address; empty is the system's
	// choice.
	Site, Source string
	Stream       string
	// Sender is the domain of the reverse-path; NullSender if that is empty.
	Sender string
}

// NullSender stands for the domain of a null reverse-path.
const NullSender = "<>"

// scope is what a throttle or a count is for. What its class does not ask for
// is empty, and so is a part that stands for all.
type scope struct {
	class bounce.Class
	Place
}

// narrow is the smallest scope of a place in which a class has a meaning; false
// for a class that no throttle is for.
func (p Place) narrow(c bounce.Class) (scope, bool) {
	switch c {
	case bounce.RateLimited:
		return scope{c, Place{Site: p.Site, Source: p.Source}}, true
	case bounce.Reputation:
		return scope{c, Place{Site: p.Site, Source: p.Source, Sender: p.Sender}}, true
	case bounce.Authentication:
		return scope{c, Place{Site: p.Site, Stream: p.Stream, Sender: p.Sender}}, true
	}
	return scope{}, false
}

// wide is the larger scope of the same rule, and the part of it that this one
// is; false if there is none.
func (s scope) wide() (all scope, part string, ok bool) {
	switch s.class {
	case bounce.Reputation:
		part, s.Sender = s.Sender, ""
	case bounce.Authentication:
		part, s.Site = s.Site, ""
	default:
		return scope{}, "", false
	}
	return s, part, true
}

// rests are the scopes in which the mail of a place may rest.
func (p Place) rests() [4]scope {
	reputation, _ := p.narrow(bounce.Reputation)
	authentication, _ := p.narrow(bounce.Authentication)
	source, _, _ := reputation.wide()
	everywhere, _, _ := authentication.wide()
	return [...]scope{reputation, source, authentication, everywhere}
}
