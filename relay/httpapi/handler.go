package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/internal/httppeer"
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
	// Logger receives refusals of forwarded requests; all else is in the
	// relay's log. Defaults to one that discards.
	Logger *slog.Logger
}

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
	c, err := h.cfg.Relay.OpenSession(ctx, h.cfg.Connector, peer)
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
	if err := t.idempotencyKey(); err != nil {
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

const (
	// weight is how often the size of a JSON body counts: once for the body,
	// once for its fields, and more than three times for a message of text
	// beyond ASCII.
	weight = 6
	// recipientWeight is what each recipient takes up, be its address ever so
	// short.
	recipientWeight = 512
)

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
