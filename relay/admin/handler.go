package admin

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/internal/httppeer"
)

// logonTimeout bounds a logon.
const logonTimeout = 30 * time.Second

// throttleEntries is room for the few who look after a relay, and for many who
// guess.
const throttleEntries = 4096

// New returns a handler that is safe for concurrent use. The error holds every
// fault, joined with [errors.Join], each a *[postern.FieldError].
func New(cfg Config) (http.Handler, error) {
	var faults []error
	fault := func(field, format string, args ...any) {
		faults = append(faults, &postern.FieldError{Field: field, Err: fmt.Errorf(format, args...)})
	}
	if cfg.Relay == nil {
		fault("Relay", "a relay is required")
	}
	switch {
	case cfg.Verifier == nil && cfg.Authorize == nil:
		fault("Verifier", "this or Authorize is required")
	case cfg.Verifier != nil && cfg.Authorize != nil:
		fault("Authorize", "Verifier is set too; choose one of them")
	}
	if cfg.Group != "" && cfg.Verifier == nil {
		fault("Group", "needs a Verifier")
	}
	for i, p := range cfg.Proxies {
		if !p.IsValid() {
			fault(fmt.Sprintf("Proxies[%d]", i), "no range of addresses")
		}
	}
	if cfg.RequireForwarded && len(cfg.Proxies) == 0 {
		fault("RequireForwarded", "needs Proxies")
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	cfg.Proxies = slices.Clone(cfg.Proxies)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	page, err := template.New("page").Funcs(functions()).Parse(pageSource)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	h := &handler{cfg: cfg, page: page, crossOrigin: http.NewCrossOriginProtection()}
	sum := sha256.Sum256([]byte(style))
	h.policy = "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(
		sum[:],
	) + "'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	if cfg.Verifier != nil {
		h.auth = &auth.Server{
			Passwords: cfg.Verifier,
			Throttle:  auth.NewThrottle(&auth.ThrottleOptions{Entries: throttleEntries}),
		}
	}
	return h, nil
}

// ServeHTTP answers one request.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Cache-Control", "no-store")
	head.Set("Content-Security-Policy", h.policy)
	head.Set("Referrer-Policy", "same-origin") // no-referrer would make the form's Origin null
	head.Set("X-Content-Type-Options", "nosniff")
	if !h.admit(w, r) {
		return
	}
	switch r.URL.Path {
	case "/":
		if allowed(w, r, http.MethodGet, http.MethodHead) {
			h.render(w, http.StatusOK, h.overview(r))
		}
	case "/status":
		if allowed(w, r, http.MethodGet, http.MethodHead) {
			h.respond(w, http.StatusOK, "application/json", h.status(r.Context()))
		}
	case "/explain":
		if allowed(w, r, http.MethodPost) {
			h.explain(w, r)
		}
	default:
		op, known := h.operations()[r.URL.Path]
		switch {
		case !known:
			http.Error(w, "Not found.", http.StatusNotFound)
		case allowed(w, r, http.MethodPost):
			h.operate(w, r, op)
		}
	}
}

// allowed answers a request with another method.
func allowed(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	if slices.Contains(methods, r.Method) {
		return true
	}
	for _, m := range methods {
		w.Header().Add("Allow", m)
	}
	http.Error(w, "Method not allowed.", http.StatusMethodNotAllowed)
	return false
}

// admit decides on who asks, and answers those it does not let in.
func (h *handler) admit(w http.ResponseWriter, r *http.Request) bool {
	peer, err := httppeer.Of(r, h.cfg.Proxies, h.cfg.RequireForwarded)
	log := h.cfg.Logger.With("remote", peer.Remote.Addr())
	switch {
	case errors.Is(err, httppeer.ErrForwarded), errors.Is(err, httppeer.ErrNotForwarded):
		log.Warn("forwarded request refused", "err", err)
		http.Error(w, "Forwarded requests are taken from known proxies only.", http.StatusForbidden)
		return false
	case err != nil:
		log.Warn("request refused", "err", err)
		http.Error(w, "No service for this address.", http.StatusForbidden)
		return false
	}
	// Before the credentials: what is shown in the clear is not to be tried
	// either.
	err = h.cfg.Relay.CheckEncryption(peer)
	if err != nil || h.auth != nil && httppeer.InClear(peer) {
		log.Info("request without TLS refused")
		http.Error(w, "TLS is required.", http.StatusForbidden)
		return false
	}
	if h.auth != nil {
		return h.logOn(w, r, peer, log)
	}
	if !h.cfg.Authorize(r) {
		log.Info("request refused")
		http.Error(w, "Forbidden.", http.StatusForbidden)
		return false
	}
	return true
}

// logOn decides on Basic credentials.
func (h *handler) logOn(
	w http.ResponseWriter, r *http.Request, peer relay.Peer, log *slog.Logger,
) bool {
	user, password, ok := r.BasicAuth()
	if !ok {
		unauthorized(w) // the ordinary course of HTTP
		return false
	}
	// It has been decided that this may be without TLS: nobody else can read
	// it.
	x, err := h.auth.Begin(
		auth.Plain,
		auth.Conn{Remote: peer.Remote, TLS: peer.TLS, InsecurePlaintext: true, Accept: h.inGroup},
	)
	if err == nil {
		// A client that hangs up is none the less counted by the Throttle.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), logonTimeout)
		defer cancel()
		_, _, err = x.Next(ctx, []byte("\x00"+user+"\x00"+password))
		log = log.With("user", x.User())
	}
	throttled, isThrottled := errors.AsType[*auth.ThrottledError](err)
	switch {
	case err == nil:
		return true
	case errors.Is(err, auth.ErrBadCredentials), errors.Is(err, auth.ErrSyntax):
		log.Info("logon refused", "err", err)
		unauthorized(w)
	case isThrottled:
		log.Info("logon throttled")
		w.Header().Set(
			"Retry-After", strconv.Itoa(int((throttled.RetryAfter+time.Second-1)/time.Second)),
		)
		http.Error(w, "Too many failed logons.", http.StatusTooManyRequests)
	default:
		log.Error("logon not decided", "err", err)
		http.Error(w, "Temporary server error, try again later.", http.StatusServiceUnavailable)
	}
	return false
}

func unauthorized(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Basic realm="relay", charset="UTF-8"`)
	http.Error(w, "Log on.", http.StatusUnauthorized)
}

// inGroup makes a good password of a user outside the group a wrong one, so
// that guesses learn nothing.
func (h *handler) inGroup(_ context.Context, id *auth.Identity) error {
	if h.cfg.Group != "" && !slices.Contains(id.Groups, h.cfg.Group) {
		return fmt.Errorf("admin: not in the group: %w", auth.ErrBadCredentials)
	}
	return nil
}
