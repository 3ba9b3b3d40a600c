package main

import (
	"crypto/rand"
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/relay"
)

//go:embed page.html style.css
var files embed.FS

var page = template.Must(template.ParseFS(files, "page.html"))

// view is what the page shows.
type view struct {
	ID      string // of the next order: the form posted twice is one order
	Problem string
	Orders  []order
}

func (s *shop) pages() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		s.show(w, r, http.StatusOK, "")
	})
	mux.HandleFunc("POST /{$}", s.post)
	mux.Handle("GET /style.css", http.FileServerFS(files))
	// No other site's page may post the form.
	return http.NewCrossOriginProtection().Handler(mux)
}

func (s *shop) post(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	o := order{
		ID: r.PostFormValue("id"), Item: r.PostFormValue("item"), To: r.PostFormValue("to"),
	}
	if err := s.place(r.Context(), o); err != nil {
		s.refuse(w, r, err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// refuse shows what the buyer can mend; the rest is for the log.
func (s *shop) refuse(w http.ResponseWriter, r *http.Request, err error) {
	_, invalid := errors.AsType[*postern.FieldError](err)
	switch {
	case errors.Is(err, errSoldOut):
		s.show(w, r, http.StatusConflict, err.Error())
	case errors.Is(err, relay.ErrKeyReused):
		s.show(w, r, http.StatusConflict, "another order has this number already")
	case invalid:
		s.show(w, r, http.StatusBadRequest, "that is not an address to write to")
	default:
		slog.Error("order failed", "err", err)
		s.show(w, r, http.StatusServiceUnavailable, "that did not work; please try again")
	}
}

func (s *shop) show(w http.ResponseWriter, r *http.Request, status int, problem string) {
	v := view{ID: rand.Text()[:10], Problem: problem}
	var err error
	if v.Orders, err = s.orders(r.Context()); err != nil {
		slog.Error("no orders", "err", err)
		http.Error(w, "the shop is closed for a moment", http.StatusServiceUnavailable)
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; "+
		"base-uri 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err := page.Execute(w, v); err != nil {
		slog.Debug("page not written", "err", err)
	}
}
