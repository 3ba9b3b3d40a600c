package admin

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
)

// question is the body of POST /explain.
type question struct {
	Remote    string      `json:"remote"`
	Connector string      `json:"connector"`
	Local     string      `json:"local"`
	TLS       bool        `json:"tls"`
	User      string      `json:"user"`
	From      string      `json:"from"`
	To        string      `json:"to"`
	Size      json.Number `json:"size"`
}

// answer is what the relay says to it.
type answer struct {
	Connector   string           `json:"connector"`
	Permissions string           `json:"permissions"`
	Principal   string           `json:"principal"`
	Domain      string           `json:"domain"`
	Type        string           `json:"type"`
	Recipient   relay.Resolution `json:"recipient"`
	Route       relay.Route      `json:"route"`
	Candidates  list[candidate]  `json:"candidates"`
	Rights      []right          `json:"rights"`
	Replies     []reply          `json:"replies"`
	Refused     bool             `json:"refused"`
}

type candidate struct {
	Name   string `json:"name"`
	Chosen bool   `json:"chosen"`
	Reason string `json:"reason"`
}

type right struct {
	Right   connector.Right `json:"right"`
	Granted bool            `json:"granted"`
	Reason  string          `json:"reason"`
}

type reply struct {
	Command  string `json:"command"`
	Code     int    `json:"code"`
	Enhanced string `json:"enhanced"`
	Text     string `json:"text"`
	Reason   string `json:"reason"`
}

// problem is the body of an error in JSON (RFC 9457).
type problem struct {
	Type   string  `json:"type"`
	Title  string  `json:"title"`
	Status int     `json:"status"`
	Errors []fault `json:"errors"`
}

// fault is what is wrong with a field.
type fault struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

func (h *handler) explain(w http.ResponseWriter, r *http.Request) {
	b := h.readBody(w, r)
	if b == nil {
		return
	}
	var asked question
	if err := b.read(&asked, asked.field); err != nil {
		http.Error(
			w, "The body is not a question as the documentation describes it.",
			http.StatusBadRequest,
		)
		return
	}
	isJSON := b.json || acceptsJSON(r)

	q, faults := asked.query(h.cfg.Relay.Connectors())
	status := http.StatusUnprocessableEntity
	var a *answer
	if len(faults) == 0 {
		e, err := h.cfg.Relay.Explain(r.Context(), q)
		if err != nil { // the fields have been checked
			h.fail(w, err)
			return
		}
		status, a = http.StatusOK, h.answerOf(e)
	}
	switch {
	case !isJSON:
		v := view{
			Hostname: h.cfg.Relay.Hostname(), Choices: h.choices(), Asked: asked,
			Faults: make(map[string]string), Answer: a,
		}
		for _, f := range faults {
			v.Faults[f.Field] = f.Detail
		}
		h.render(w, status, v)
	case a == nil:
		h.respond(
			w, status, "application/problem+json",
			problem{"about:blank", http.StatusText(status), status, faults},
		)
	default:
		h.respond(w, status, "application/json", a)
	}
}

func acceptsJSON(r *http.Request) bool {
	for v := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		if kind, _, err := mime.ParseMediaType(v); err == nil && kind == "application/json" {
			return true
		}
	}
	return false
}

// field sets a field of a form.
func (q *question) field(name, value string) (err error) {
	value = strings.TrimSpace(value)
	switch name {
	case "remote":
		q.Remote = value
	case "connector":
		q.Connector = value
	case "local":
		q.Local = value
	case "tls":
		q.TLS, err = strconv.ParseBool(value)
	case "user":
		q.User = value
	case "from":
		q.From = value
	case "to":
		q.To = value
	case "size":
		q.Size = json.Number(value)
	default:
		err = errors.New("a field is unknown")
	}
	return err
}

// query makes a query of what was asked, or tells every fault of it.
func (q question) query(connectors []*connector.Connector) (
	out relay.ExplainQuery, faults []fault,
) {
	fail := func(field, detail string) { faults = append(faults, fault{field, detail}) }
	address := func(field, s string) string {
		if s == "" || s == "<>" {
			return ""
		}
		if _, err := domains.Parse(s); err != nil &&
			!(field == "to" && strings.EqualFold(s, "postmaster")) {
			fail(field, strings.TrimPrefix(err.Error(), "domains: "))
		}
		return s
	}
	out = relay.ExplainQuery{TLS: q.TLS, From: address("from", q.From), To: address("to", q.To)}

	var err error
	if out.Remote, err = parsePeer(q.Remote); err != nil || out.Remote.Addr().Zone() != "" {
		fail("remote", "write the client's IP address, such as 192.0.2.7")
	}
	switch i := slices.IndexFunc(connectors, func(c *connector.Connector) bool {
		return c.Name == q.Connector
	}); {
	case (q.Connector == "") == (q.Local == ""):
		fail(
			"connector",
			"choose a connector or write the address that the client connects to, not both",
		)
	case q.Connector == "":
		if out.Local, err = netip.ParseAddrPort(q.Local); err != nil ||
			out.Local.Addr().Zone() != "" {
			fail("local", "write an IP address and a port, such as 192.0.2.25:25")
		}
	case i < 0:
		fail("connector", "there is no connector of that name")
	default:
		out.Local = bindingFor(connectors[i], out.Remote.Addr())
	}
	if q.User != "" {
		if out.User, err = auth.PrepareName(q.User); err != nil {
			fail("user", "this is no user name")
		}
	}
	if q.Size != "" {
		if out.Size, err = strconv.ParseInt(string(q.Size), 10, 64); err != nil || out.Size < 0 {
			fail("size", "write a number of octets")
		}
	}
	return out, faults
}

func parsePeer(s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, 0), nil
	}
	return netip.ParseAddrPort(s)
}

// bindingFor returns the first binding that a client of the remote address's
// family can connect to, or else the first.
func bindingFor(c *connector.Connector, remote netip.Addr) netip.AddrPort {
	for _, b := range c.Bindings {
		if b.Addr().Unmap().Is4() == remote.Unmap().Is4() {
			return b
		}
	}
	return c.Bindings[0] // the relay has made sure that there is one
}

func (h *handler) answerOf(e *relay.Explanation) *answer {
	a := &answer{
		Connector: e.Connector, Permissions: e.Permissions, Principal: e.Principal.String(),
		Domain: e.Domain, Recipient: e.Resolution, Route: e.Route,
		Rights: make([]right, len(e.Rights)), Replies: make([]reply, len(e.Replies)),
		Refused: e.Refused(),
		Candidates: first(maxConnectors, e.Candidates, func(c connector.Candidate) candidate {
			return candidate{c.Connector.Name, c.Chosen, c.Reason}
		}),
	}
	if e.Domain != "" {
		a.Type = e.Type.String()
	}
	for i, r := range e.Rights {
		a.Rights[i] = right(r)
	}
	for i, r := range e.Replies {
		// an error of the application's own
		if 400 <= r.Code && r.Code < 500 && r.Reason != r.Text {
			h.cfg.Logger.Warn(
				"explained a temporary failure", "command", r.Command, "err", r.Reason,
			)
			r.Reason = r.Text
		}
		a.Replies[i] = reply(r)
	}
	return a
}
