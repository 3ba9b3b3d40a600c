package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/internal/httppeer"
	"github.com/postern-mail/postern/relay/spool"
)

// Config says what a handler does.
type Config struct {
	// Relay takes the messages. Required.
	Relay *relay.Relay
	// Connector is the name of the receive connector whose clients these are.
	// Required.
	Connector string
	// Proxies are the addresses whose X-Forwarded-For and X-Forwarded-Proto are
	// believed. Where the relay has RequireEncryption, their requests must come
	// inside TLS or from a loopback address. Defaults to none.
	Proxies []connector.Range
	// RequireForwarded refuses requests from Proxies that do not say whom they
	// come from, 403. Without it they count as the proxy's own. Set it where a
	// proxy that forgets to tell would lend its address to everybody. Defaults
	// to false.
	RequireForwarded bool
	// MaxJSONBytes bounds a JSON body in octets; so does the connector's
	// MaxMessageBytes. Defaults to 36 MiB.
	MaxJSONBytes int64
	// MaxBuffered bounds the memory for all JSON bodies at a time, in octets.
	// Each counts six times its size and 512 octets for each recipient, which
	// is what it takes to make a message of the worst text; beyond it the
	// answer is 503. Defaults to 256 MiB.
	MaxBuffered int64
	// Keys remembers the requests with an Idempotency-Key. Processes that serve
	// the same clients should share one. Defaults to NewKeys(0, 0), of this
	// handler.
	Keys Keys
	// Logger receives failures of Keys; all else is in the relay's log.
	// Defaults to one that discards.
	Logger *slog.Logger
}

const (
	defaultJSONBytes = 36 << 20
	defaultBuffered  = 256 << 20
	maxKey           = 255
	maxQuery         = 256 << 10
)

// check returns every fault of the configuration.
func (cfg *Config) check() error {
	var faults []error
	fault := func(field, format string, args ...any) {
		faults = append(faults, &postern.FieldError{Field: field, Err: fmt.Errorf(format, args...)})
	}
	if cfg.Relay == nil {
		fault("Relay", "a relay is required")
	} else if !slices.ContainsFunc(cfg.Relay.Connectors(), func(c *connector.Connector) bool {
		return c.Name == cfg.Connector
	}) {
		fault("Connector", "the relay has no connector %q, or it is disabled", cfg.Connector)
	}
	for i, p := range cfg.Proxies {
		if !p.IsValid() {
			fault(fmt.Sprintf("Proxies[%d]", i), "no range of addresses")
		}
	}
	if cfg.RequireForwarded && len(cfg.Proxies) == 0 {
		fault("RequireForwarded", "needs Proxies")
	}
	if cfg.MaxJSONBytes < 0 {
		fault("MaxJSONBytes", "%d is negative", cfg.MaxJSONBytes)
	}
	if cfg.MaxBuffered < 0 {
		fault("MaxBuffered", "%d is negative", cfg.MaxBuffered)
	}
	return errors.Join(faults...)
}

// New returns a handler for POST /messages and GET /openapi.json; use
// [http.StripPrefix] to serve it elsewhere than at the root. The error holds
// every fault, joined with [errors.Join], each a *[postern.FieldError].
func New(cfg Config) (http.Handler, error) {
	h := &handler{cfg: cfg, sources: make(map[netip.Addr]int)}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if h.cfg.MaxJSONBytes == 0 {
		h.cfg.MaxJSONBytes = defaultJSONBytes
	}
	if h.cfg.MaxBuffered == 0 {
		h.cfg.MaxBuffered = defaultBuffered
	}
	if h.cfg.Keys == nil {
		h.cfg.Keys = NewKeys(0, 0)
	}
	if h.cfg.Logger == nil {
		h.cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return h, nil
}

type handler struct {
	cfg      Config
	buffered atomic.Int64

	mu      sync.Mutex
	total   int
	sources map[netip.Addr]int // requests under way
}

// ServeHTTP answers one request.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Cache-Control", "no-store")
	head.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("X-Content-Type-Options", "nosniff")
	switch r.URL.Path {
	case "/messages":
		if r.Method != http.MethodPost {
			head.Set("Allow", "POST")
			write(w, r, problem{Status: http.StatusMethodNotAllowed})
			return
		}
		id, err := h.message(w, r)
		if err != nil {
			fail(w, r, err)
			return
		}
		head.Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		_ = json.NewEncoder(w).Encode(accepted{QueueID: id}) // the client has gone
	case "/openapi.json":
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			head.Set("Allow", "GET, HEAD")
			write(w, r, problem{Status: http.StatusMethodNotAllowed})
			return
		}
		head.Set("Content-Type", "application/json")
		_, _ = w.Write(openAPI)
	default:
		write(w, r, problem{Status: http.StatusNotFound})
	}
}

// accepted is the body of a 202.
type accepted struct {
	QueueID string `json:"queue_id"`
}

// message takes a message. All that can be refused without its body is refused
// before it is read.
func (h *handler) message(w http.ResponseWriter, r *http.Request) (id string, err error) {
	peer, err := h.peer(r)
	if err != nil {
		return "", err
	}
	ctx := r.Context()
	c, err := h.cfg.Relay.Admit(ctx, h.cfg.Connector, peer)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = challenged(c, r, err)
		}
	}()
	source := sourceOf(peer.Remote.Addr())
	if err := h.enter(c.Limits(), source); err != nil {
		return "", c.Refuse(ctx, "connect", err)
	}
	defer h.leave(source)
	if err := logOn(c, r); err != nil {
		// Whoever guesses shall not do so on one connection.
		w.Header().Set("Connection", "close")
		return "", err
	}
	if err := c.Check(ctx); err != nil {
		return "", err
	}
	t := &transaction{handler: h, client: c, limits: c.Limits(), request: r}
	if err := t.idempotencyKey(peer.Remote.Addr()); err != nil {
		return "", err
	}
	if r.Header.Get("Content-Encoding") != "" {
		return "", problem{
			Status: http.StatusUnsupportedMediaType, Detail: "Content-Encoding is not supported",
		}
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err != nil, len(r.Header.Values("Content-Type")) > 1:
	case kind == "application/json" && isUTF8(params["charset"]):
		return t.json(ctx)
	case kind == "message/rfc822":
		return t.raw(ctx)
	}
	return "", problem{
		Status: http.StatusUnsupportedMediaType,
		Detail: "Content-Type must be application/json or message/rfc822",
	}
}

// isUTF8 reports whether a charset parameter is one that JSON can have (RFC
// 8259 section 8.1), or utf8, which some clients write.
func isUTF8(charset string) bool {
	return charset == "" || strings.EqualFold(charset, "utf-8") ||
		strings.EqualFold(charset, "utf8")
}

// enter counts a request against the connector's limits on connections.
func (h *handler) enter(l connector.Limits, source netip.Addr) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case l.MaxConnections > 0 && h.total >= l.MaxConnections:
		return relay.Defer(
			421, "4.3.2", "The maximum number of concurrent requests has exceeded a limit",
		)
	case l.MaxConnectionsPerSource > 0 && h.sources[source] >= l.MaxConnectionsPerSource:
		return relay.Defer(
			421, "4.3.2",
			"The maximum number of concurrent requests has exceeded a per-source limit",
		)
	}
	h.total++
	h.sources[source]++
	return nil
}

func (h *handler) leave(source netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.total--
	if h.sources[source]--; h.sources[source] == 0 {
		delete(h.sources, source)
	}
}

// transaction is one message on its way in.
type transaction struct {
	*handler
	client  *relay.Client
	limits  connector.Limits
	request *http.Request
	key     string // in Keys; empty without one
	// reserved is what it has of handler.buffered.
	reserved int64
}

// idempotencyKey reads the field, if there is one.
func (t *transaction) idempotencyKey(remote netip.Addr) error {
	values := t.request.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return nil
	}
	v := values[0]
	if len(values) > 1 || v == "" || len(v) > maxKey ||
		strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) {
		return problem{
			Status: http.StatusBadRequest,
			Detail: "Idempotency-Key is not 1 to 255 printable characters",
		}
	}
	// A credential of the same user may have fewer rights: what it repeats is
	// judged as its own.
	user, credential, address := "", "", ""
	if id := t.client.Identity(); id != nil {
		user, credential = id.User, id.Credential
	}
	if user == "" && credential == "" {
		address = remote.String()
	}
	sum := sha256.Sum256(
		fmt.Appendf(nil, "%q %q %q %q %q", t.cfg.Connector, user, credential, address, v),
	)
	t.key = hex.EncodeToString(sum[:])
	return nil
}

// digest begins the digest of a request.
func digest(kind, query string) hash.Hash {
	d := sha256.New()
	io.WriteString(d, kind+"\x00"+query+"\x00")
	return d
}

// once submits unless an earlier request with the key has. sum gives the digest
// of the request, once its body has been read; read reads it if nothing is
// submitted.
func (t *transaction) once(
	ctx context.Context, sum hash.Hash, read func() error, submit func() (string, error),
) (id string, err error) {
	if t.key == "" {
		return submit()
	}
	earlier, err := t.cfg.Keys.Claim(ctx, t.key)
	switch {
	case errors.Is(err, ErrInProgress):
		return "", problem{
			Status: http.StatusConflict, Detail: "A request with this Idempotency-Key is under way",
			retry: 1,
		}
	case err != nil:
		t.cfg.Logger.Error("idempotency keys failed", "err", err)
		return "", problem{
			Status: http.StatusServiceUnavailable,
			Detail: "Temporary server error, try again later",
		}
	case earlier != nil:
		if err := read(); err != nil {
			return "", err
		}
		if earlier.Request != [sha256.Size]byte(sum.Sum(nil)) {
			return "", problem{
				Status: http.StatusUnprocessableEntity,
				Detail: "This Idempotency-Key was used for another request",
			}
		}
		return earlier.QueueID, nil
	}
	var outcome *Outcome
	defer func() {
		// The client may have gone, its message has not.
		if err := t.cfg.Keys.Settle(context.WithoutCancel(ctx), t.key, outcome); err != nil {
			t.cfg.Logger.Error("idempotency keys failed", "err", err)
		}
	}()
	id, err = submit()
	if err == nil {
		outcome = &Outcome{Request: [sha256.Size]byte(sum.Sum(nil)), QueueID: id}
	}
	return id, err
}

// raw takes a message as it stands, with the envelope in the query.
func (t *transaction) raw(ctx context.Context) (string, error) {
	r := t.request
	m, err := envelope(r.URL.RawQuery)
	if err != nil {
		return "", t.client.Refuse(ctx, "mail", err)
	}
	sum := digest("message/rfc822", r.URL.RawQuery)
	body := io.TeeReader(r.Body, sum)
	if t.key == "" {
		body = r.Body
	}
	m.Content, m.Size = body, max(r.ContentLength, 0)
	read := func() error {
		limit := t.limits.MaxMessageBytes
		if limit < 0 {
			limit = 1<<63 - 2
		}
		n, err := io.Copy(io.Discard, io.LimitReader(body, limit+1))
		if err != nil || n > limit {
			return t.client.Refuse(ctx, "data", tooLarge())
		}
		return nil
	}
	return t.once(ctx, sum, read, func() (string, error) { return t.submit(ctx, m) })
}

func (t *transaction) submit(ctx context.Context, m *relay.Message) (string, error) {
	receipt, err := t.client.Submit(ctx, m)
	if err != nil {
		return "", err
	}
	return receipt.QueueID, nil
}

func badArguments(text string) error { return relay.Reject(501, "5.5.4", text) }
func tooLarge() error {
	return relay.Reject(552, "5.3.4", "Message size exceeds fixed maximum message size")
}

// envelope reads the query of a raw message.
func envelope(query string) (*relay.Message, error) {
	if len(query) > maxQuery {
		return nil, badArguments("The query is too long")
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return nil, badArguments("The query is malformed")
	}
	m := &relay.Message{To: unique(q["to"])}
	for name, values := range q {
		if len(values) != 1 && name != "to" && name != "label" {
			return nil, badArguments("A query parameter is given more than once")
		}
		switch name {
		case "to":
		case "from":
			m.From = values[0]
		case "envelope_id":
			m.EnvelopeID = values[0]
		case "return":
			m.Return = spool.Return(strings.ToUpper(values[0]))
		case "notify":
			if m.Notify.UnmarshalText([]byte(values[0])) != nil {
				return nil, badArguments("The query parameter notify is malformed")
			}
		case "label":
			m.Labels = make(map[string]string, len(values))
			for _, v := range values {
				k, v, _ := strings.Cut(v, ":")
				m.Labels[k] = v
			}
			if f := checkLabels(m.Labels); f != "" {
				return nil, badArguments("A query parameter label is malformed")
			}
		default:
			return nil, badArguments("A query parameter is unknown")
		}
	}
	if !q.Has("from") {
		return nil, badArguments("The query parameter from is missing")
	}
	return m, nil
}

// unique drops repetitions and keeps the order.
func unique(list []string) []string {
	seen := make(map[string]bool, len(list))
	return slices.DeleteFunc(list, func(s string) bool {
		was := seen[s]
		seen[s] = true
		return was
	})
}

// json makes a message of a JSON body.
func (t *transaction) json(ctx context.Context) (string, error) {
	r := t.request
	if r.URL.RawQuery != "" {
		return "", t.client.Refuse(
			ctx, "mail", badArguments("A JSON request has no query parameters"),
		)
	}
	defer func() { t.buffered.Add(-t.reserved) }()
	body, err := t.read(ctx)
	if err != nil {
		return "", err
	}
	sum := digest("application/json", "")
	sum.Write(body)
	nothing := func() error { return nil }
	n := recipients(body, t.limits.MaxRecipients)
	if err := t.reserve(ctx, int64(n)*recipientWeight); err != nil {
		return "", err
	}
	return t.once(ctx, sum, nothing, func() (string, error) {
		m, faults := decode(body, t.limits.MaxRecipients)
		if len(faults) > 0 {
			_ = t.client.Refuse(ctx, "data", badArguments("Invalid arguments"))
			return "", problem{
				Status: http.StatusBadRequest,
				Detail: "The body is not a message as /openapi.json describes it",
				SMTP:   &smtpReply{501, "5.5.4", "Invalid arguments"}, Errors: faults,
			}
		}
		if n := m.recipients(); t.limits.MaxRecipients > 0 && n > t.limits.MaxRecipients {
			return "", t.client.Refuse(
				ctx, "rcpt", relay.Defer(452, "4.5.3", "Too many recipients"),
			)
		}
		out, faults := m.compose()
		if len(faults) > 0 {
			_ = t.client.Refuse(ctx, "data", badArguments("Invalid arguments"))
			return "", problem{
				Status: http.StatusBadRequest, Detail: "A field of the message is not valid",
				SMTP: &smtpReply{501, "5.5.4", "Invalid arguments"}, Errors: faults,
			}
		}
		return t.submit(ctx, out)
	})
}

const (
	// weight is how often the size of a JSON body counts: once for the body,
	// once for its fields, and more than three times for a message of text
	// beyond ASCII.
	weight = 6
	// recipientWeight is what each recipient takes up, be its address ever so
	// short.
	recipientWeight = 512
)

// reserve takes memory for the request, as far as there is room. All is given
// back when the request is through.
func (t *transaction) reserve(ctx context.Context, n int64) error {
	t.reserved += n
	if t.buffered.Add(n) > t.cfg.MaxBuffered {
		return t.client.Refuse(
			ctx, "data", relay.Defer(452, "4.3.1", "Insufficient system resources"),
		)
	}
	return nil
}

// read reads a JSON body into memory as far as there is room. What it reserves
// is for the caller to give back.
func (t *transaction) read(ctx context.Context) ([]byte, error) {
	r, limit := t.request, min(t.cfg.MaxJSONBytes, math.MaxInt32-1) // an int can count them
	if l := t.limits.MaxMessageBytes; l > 0 {
		limit = min(limit, l)
	}
	if r.ContentLength > limit {
		return nil, t.client.Refuse(ctx, "data", tooLarge())
	}
	// One octet more shows the end, or that there is too much.
	most := int(limit) + 1
	if r.ContentLength >= 0 {
		most = int(r.ContentLength) + 1
	}
	// What a client announces is not reserved before it comes.
	body := make([]byte, 0, min(most, 64<<10))
	for {
		if need := int64(cap(body)) * weight; need > t.reserved {
			if err := t.reserve(ctx, need-t.reserved); err != nil {
				return nil, err
			}
		}
		n, err := r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case int64(len(body)) > limit:
			return nil, t.client.Refuse(ctx, "data", tooLarge())
		case err == io.EOF:
			return body, nil
		case err != nil:
			return nil, t.client.Refuse(
				ctx, "data",
				errors.Join(relay.Defer(451, "4.3.0", "The body could not be read"), err),
			)
		}
		if len(body) == cap(body) {
			body = slices.Grow(body, max(min(len(body), most-len(body)), 1))
		}
	}
}

// peer tells where a request comes from.
func (h *handler) peer(r *http.Request) (relay.Peer, error) {
	p, err := httppeer.Of(r, h.cfg.Proxies, h.cfg.RequireForwarded)
	switch {
	case errors.Is(err, httppeer.ErrForwarded), errors.Is(err, httppeer.ErrNotForwarded):
		h.cfg.Logger.Warn("forwarded request refused", "remote", p.Remote.Addr(), "err", err)
		return p, problem{
			Status: http.StatusForbidden,
			Detail: "Forwarded requests are taken from known proxies only",
		}
	case err != nil:
		return p, problem{Status: http.StatusForbidden, Detail: "No service for this address"}
	}
	return p, nil
}

// sourceOf is the address by which a client is counted: one who holds an IPv6
// address commonly holds its whole /64.
func sourceOf(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}
