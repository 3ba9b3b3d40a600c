package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
)

const maxBody = 64 << 10

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
	if err := h.crossOrigin.Check(r); err != nil {
		http.Error(w, "The request comes from another site.", http.StatusForbidden)
		return
	}
	// what cannot be read is neither
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	isJSON := kind == "application/json"
	if !isJSON && kind != "application/x-www-form-urlencoded" {
		http.Error(
			w, "Content-Type must be application/x-www-form-urlencoded or application/json.",
			http.StatusUnsupportedMediaType,
		)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			http.Error(w, "The body is too large.", http.StatusRequestEntityTooLarge)
		} else {
			http.Error(w, "The body could not be read.", http.StatusBadRequest)
		}
		return
	}
	var asked question
	if isJSON {
		asked, err = questionOfJSON(body)
	} else {
		asked, err = questionOfForm(string(body))
	}
	if err != nil {
		http.Error(
			w, "The body is not a question as the documentation describes it.",
			http.StatusBadRequest,
		)
		return
	}
	isJSON = isJSON || acceptsJSON(r)

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

func questionOfJSON(body []byte) (q question, err error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err = d.Decode(&q); err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("something follows the object")
		}
	}
	return q, err
}

func questionOfForm(body string) (q question, err error) {
	form, err := url.ParseQuery(body)
	if err != nil {
		return q, err
	}
	for name, values := range form {
		if len(values) != 1 {
			return q, errors.New("a field is given more than once")
		}
		v := strings.TrimSpace(values[0])
		switch name {
		case "remote":
			q.Remote = v
		case "connector":
			q.Connector = v
		case "local":
			q.Local = v
		case "tls":
			if q.TLS, err = strconv.ParseBool(v); err != nil {
				return q, err
			}
		case "user":
			q.User = v
		case "from":
			q.From = v
		case "to":
			q.To = v
		case "size":
			q.Size = json.Number(v)
		default:
			return q, errors.New("a field is unknown")
		}
	}
	return q, nil
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
