package exchange

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
)

// Dump is what the Exchange Management Shell printed, each part by itself and
// each as ConvertTo-Json made it. A part may be left out. At most 32 MB each.
type Dump struct {
	// ReceiveConnectors is the output of Get-ReceiveConnector.
	ReceiveConnectors []byte
	// AcceptedDomains is the output of Get-AcceptedDomain.
	AcceptedDomains []byte
	// SendConnectors is the output of Get-SendConnector.
	SendConnectors []byte
	// Permissions is the output of Get-ADPermission for receive connectors,
	// with the identifier of each account as Sid. Identity may be left out for
	// a single connector. Required when a connector has the permission group
	// Custom.
	Permissions []byte
	// Server keeps the receive connectors of this server only. Defaults to
	// those of all servers, which one relay can rarely take over together.
	Server string
}

// Result is the configuration of a dump in our types.
type Result struct {
	// Hostname is the name that the receive connectors go by, for the relay's
	// own name. Empty when the dump does not tell.
	Hostname string
	// Connectors are the receive connectors. The usage of each is Custom:
	// Exchange does not keep it.
	Connectors []*connector.Connector
	// SendConnectors are the send connectors, without passwords.
	SendConnectors []*connector.SendConnector
	// AcceptedDomains have no Recipients: a dump does not tell which exist.
	AcceptedDomains []domains.AcceptedDomain
	// DefaultDomain is the accepted domain marked as default.
	DefaultDomain string
	// Notes say what differs, in the order of the dump.
	Notes []Note
}

// Note is something that has no counterpart or another meaning here.
type Note struct {
	Object    string // "receive connector Relay"
	Parameter string // "AuthMechanism"
	Value     string // what the dump says, shortened; on one line
	Reason    string
}

// String returns the note on one line.
func (n Note) String() string {
	s := n.Object + ": " + n.Parameter
	if n.Value != "" {
		s += " = " + n.Value
	}
	return s + ": " + n.Reason
}

// Read converts a dump. The error holds every fault of the dump itself, joined
// with [errors.Join], each a *[postern.FieldError] with a path such as
// "ReceiveConnectors[0].Bindings[1]".
func Read(d Dump) (*Result, error) {
	r := &reader{strangers: map[string]bool{}}
	receive := r.receiveConnectors(r.objects("ReceiveConnectors", d.ReceiveConnectors), d.Server)
	r.permissions(r.objects("Permissions", d.Permissions), receive)
	for _, c := range receive {
		if !c.elsewhere {
			r.finishReceive(c)
		}
	}
	for _, o := range r.objects("AcceptedDomains", d.AcceptedDomains) {
		r.acceptedDomain(o)
	}
	for _, o := range r.objects("SendConnectors", d.SendConnectors) {
		r.sendConnector(o)
	}
	if err := errors.Join(r.faults...); err != nil {
		return nil, err
	}
	r.check()
	return &r.result, nil
}

// reader gathers a result and the faults of the dump.
type reader struct {
	result    Result
	faults    []error
	strangers map[string]bool // accounts that nobody can place
}

const maxFaults = 100

func (r *reader) fault(field, format string, args ...any) {
	switch n := len(r.faults); {
	case n < maxFaults:
		r.faults = append(
			r.faults, &postern.FieldError{Field: field, Err: fmt.Errorf(format, args...)},
		)
	case n == maxFaults:
		r.faults = append(r.faults, errors.New("and more faults"))
	}
}

func (r *reader) note(object, parameter, value, reason string) {
	r.result.Notes = append(
		r.result.Notes, Note{oneLine(object), oneLine(parameter), oneLine(value), oneLine(reason)},
	)
}

const maxValue = 200 // characters of a note's value or name

// oneLine shortens text and keeps it on one line.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		// A separator of lines or paragraphs breaks a line as well.
		if unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp) {
			return ' '
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > maxValue {
		s = string(runes[:maxValue-1]) + "…"
	}
	return s
}

// check notes what a relay will refuse.
func (r *reader) check() {
	_, err := connector.NewSet(r.result.Connectors...)
	r.refused(err, func(i int) string { return receiveLabel(r.result.Connectors[i].Name) })
	routes, err := connector.NewSendSet(withoutUsers(r.result.SendConnectors)...)
	r.refused(err, func(i int) string { return sendLabel(r.result.SendConnectors[i].Name) })
	_, err = domains.NewTable(r.result.AcceptedDomains...)
	r.refused(err, func(i int) string { return domainLabel(r.result.AcceptedDomains[i].Domain) })
	if routes != nil {
		r.unrouted(routes)
	}
}

// withoutUsers returns the connectors as they are without credentials: the
// passwords are missing in every dump, which is noted already.
func withoutUsers(list []*connector.SendConnector) []*connector.SendConnector {
	list = slices.Clone(list)
	for i, c := range list {
		plain := *c
		plain.Username = ""
		list[i] = &plain
	}
	return list
}

// unrouted notes relay domains whose mail may come back.
func (r *reader) unrouted(routes *connector.SendSet) {
	for _, d := range r.result.AcceptedDomains {
		if d.Type == domains.Authoritative {
			continue
		}
		name, err := domains.ParseDomain(strings.TrimPrefix(d.Domain, "*."))
		if err != nil {
			continue
		}
		route, err := routes.Select(name, 0)
		switch {
		case err != nil:
			r.note(
				domainLabel(d.Domain), "DomainType", d.Type.String(),
				"the relay refuses this: no send connector leads to the domain",
			)
		case route.Space == "*" && len(route.Connector.Hosts) == 0:
			r.note(
				domainLabel(d.Domain), "DomainType", d.Type.String(),
				"no send connector of its own: mail goes to the mail exchangers of the domain, "+
					"and in a loop if those lead here",
			)
		}
	}
}

// refused turns the faults that a set found into notes.
func (r *reader) refused(err error, label func(i int) string) {
	list, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return
	}
	for _, err := range list.Unwrap() {
		e, ok := errors.AsType[*postern.FieldError](err)
		if !ok {
			continue
		}
		index, field, _ := strings.Cut(strings.TrimPrefix(e.Field, "["), "].")
		// Recipients are missing in every dump, which is noted already.
		if i, err := strconv.Atoi(index); err == nil && field != "Recipients" &&
			field != "SkipLookup" {
			r.note(label(i), field, "", "the relay refuses this: "+e.Err.Error())
		}
	}
}

func receiveLabel(name string) string { return "receive connector " + name }
func sendLabel(name string) string    { return "send connector " + name }
func domainLabel(name string) string  { return "accepted domain " + name }

// rule is about a parameter without a counterpart: why it needs a note, and
// which values need none besides those that stand for nothing.
type rule struct {
	parameter string
	reason    string
	usual     []string
}

// rest notes what the dump says beyond what was read.
func (o *object) rest(rules []rule, silent []string) {
	for _, r := range rules {
		v, ok := o.get(r.parameter)
		if !ok || isNothing(v) {
			continue
		}
		s := show(v)
		if !slices.ContainsFunc(r.usual, func(u string) bool { return strings.EqualFold(u, s) }) {
			o.note(r.parameter, r.reason)
		}
	}
	for _, s := range append(silent, described()...) {
		o.get(s)
	}
	for _, name := range o.unread() {
		if v, ok := o.get(name); ok && !isNothing(v) {
			o.note(name, "not known to this package")
		}
	}
}

// described are the parameters that every object of the directory has and that
// only describe it.
func described() []string {
	return []string{
		"AdminDisplayName", "Comment", "DistinguishedName", "ExchangeObjectId", "ExchangeVersion",
		"Guid", "Id", "Identity",
		"IsValid", "Name", "ObjectCategory", "ObjectClass", "ObjectState", "OrganizationId",
		"OrganizationalUnitRoot", "OriginatingServer",
		"PSComputerName", "PSShowComputerName", "ProtocolLoggingLevel", "RunspaceId",
		"WhenChanged", "WhenChangedUTC", "WhenCreated", "WhenCreatedUTC",
	}
}
