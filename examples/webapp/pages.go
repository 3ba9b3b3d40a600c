package main

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/mail"
	"net/netip"
	"strings"
	"unicode"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
)

//go:embed static page.html
var files embed.FS

// form is what a visitor wrote.
type form struct{ To, Subject, Text string }

// view is what the template shows.
type view struct {
	From     string
	Form     form
	Problem  string
	Sent     string // queue id
	Messages []*message
	Events   []event.Event
	Open     *message
}

func (a *app) pages() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		a.show(
			w, http.StatusOK, "page",
			view{Form: form{To: "alice@" + domain}, Sent: r.FormValue("sent")},
		)
	})
	mux.HandleFunc("POST /{$}", a.post)
	mux.HandleFunc("GET /inbox", func(w http.ResponseWriter, _ *http.Request) {
		a.show(w, http.StatusOK, "inbox", view{})
	})
	mux.HandleFunc("GET /messages/{id}", func(w http.ResponseWriter, r *http.Request) {
		m := a.inbox.find(r.PathValue("id"))
		if m == nil {
			http.NotFound(w, r)
			return
		}
		a.show(w, http.StatusOK, "page", view{Form: form{To: "alice@" + domain}, Open: m})
	})
	mux.HandleFunc("GET /messages/{id}/source", func(w http.ResponseWriter, r *http.Request) {
		m := a.inbox.find(r.PathValue("id"))
		if m == nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write(m.Source)
	})
	mux.Handle("GET /static/", http.FileServerFS(files))
	mux.Handle("/relay/", http.StripPrefix("/relay", a.admin))

	// No other site's page may post the form or read the inbox.
	guarded := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src "+
			"'self'; connect-src 'self'; "+
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !local(r.Host) {
			http.Error(
				w, "this application answers to localhost only", http.StatusMisdirectedRequest,
			)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// local reports whether a request was made to this host by its address or as
// localhost. A name of somebody else's that points here is not.
func local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && addr.IsLoopback()
}

func (a *app) post(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "the form is too large or broken", http.StatusBadRequest)
		return
	}
	f := form{
		To: r.PostFormValue("to"), Subject: r.PostFormValue("subject"),
		Text: r.PostFormValue("text"),
	}
	m, err := compose(f)
	if err == nil {
		var receipt *relay.Receipt
		if receipt, err = a.relay.Submit(r.Context(), m); err == nil {
			// The message is durable: it will be delivered, or its sender told.
			http.Redirect(w, r, "/?sent="+receipt.QueueID, http.StatusSeeOther)
			return
		}
	}
	problem := "The message was not taken: " + err.Error()
	if re, ok := errors.AsType[*relay.RecipientError](err); ok {
		problem = re.Error()
	}
	a.show(w, http.StatusUnprocessableEntity, "page", view{Form: f, Problem: problem})
}

// compose makes a message of what a visitor wrote. Nothing of it can become a
// header field of its own.
func compose(f form) (*relay.Message, error) {
	list, err := mail.ParseAddressList(f.To)
	if err != nil || len(list) > 10 {
		return nil, errors.New("write up to ten addresses, separated by commas")
	}
	if strings.ContainsFunc(f.Subject, unicode.IsControl) || len(f.Subject) > 200 {
		return nil, errors.New("the subject is one short line")
	}
	m := &relay.Message{From: appFrom}
	to := make([]string, len(list))
	for i, a := range list {
		m.To = append(m.To, a.Address)
		to[i] = a.String()
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: Web application <%s>\r\nTo: %s\r\nSubject: %s\r\n", appFrom,
		strings.Join(to, ",\r\n "), mime.QEncoding.Encode("utf-8", f.Subject))
	b.WriteString("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n" +
		"Content-Transfer-Encoding: quoted-printable\r\n\r\n")
	body := quotedprintable.NewWriter(&b)
	_, _ = io.WriteString(body, f.Text) // into memory
	_ = body.Close()
	m.Content = &b
	return m, nil
}

func (a *app) show(w http.ResponseWriter, status int, name string, v view) {
	v.From = appFrom
	v.Messages, v.Events = a.inbox.newest()
	var b bytes.Buffer
	if err := a.page.ExecuteTemplate(&b, name, v); err != nil {
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = b.WriteTo(w)
}
