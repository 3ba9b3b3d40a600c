package httpapi_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/httpapi"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// newRelay makes a relay whose users log on with a password; server brings the
// certificate.
func newRelay(queue spool.Store, server *tls.Config) *relay.Relay {
	users := connector.Submission("users")
	users.Limits.AuthTarpit = -1
	r, err := relay.New(relay.Config{
		Hostname:   "relay.example.com",
		Spool:      queue,
		Connectors: []*connector.Connector{users},
		TLS:        server,
		Verifier: auth.WithSenders(auth.Static(map[string]string{"shop": "secret"}),
			map[string][]string{"shop": {"shop@example.com"}}),
		Transport: delivery.TransportFunc(func(
			_ context.Context, a *delivery.Attempt,
		) []delivery.Result {
			return nil
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	return r
}

func Example() {
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	defer server.Close()
	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	queue, err := filespool.Open(dir, nil) // it knows idempotency keys
	if err != nil {
		log.Fatal(err)
	}
	defer queue.Close()
	r := newRelay(queue, server.TLS)
	defer r.Close()

	handler, err := httpapi.New(httpapi.Config{Relay: r, Connector: "users"})
	if err != nil {
		log.Fatal(err)
	}
	server.Config.Handler = http.StripPrefix("/mail", handler)

	send := func(password, body string) {
		req, _ := http.NewRequest(
			http.MethodPost, server.URL+"/mail/messages", strings.NewReader(body),
		)
		req.SetBasicAuth("shop", password)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", "order 4711, confirmation")
		res, err := server.Client().Do(req)
		if err != nil {
			log.Fatal(err)
		}
		defer res.Body.Close()
		var answer struct {
			QueueID string `json:"queue_id"`
			SMTP    struct {
				Code     int
				Enhanced string
			}
		}
		if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
			log.Fatal(err)
		}
		fmt.Printf(
			"%d, queued: %t, SMTP: %d %q\n", res.StatusCode, answer.QueueID != "", answer.SMTP.Code,
			answer.SMTP.Enhanced,
		)
	}
	const order = `{
		"from": "The Shop <shop@example.com>",
		"to": ["Alice <alice@example.net>"],
		"subject": "Your order",
		"text": "It is on its way.\n",
		"html": "<p>It is on its way.</p>",
		"attachments": [{"name": "invoice.txt", "content_type": "text/plain", "content": "MTIgRVVSCg=="}]
	}`
	send("secret", order)
	send("secret", order) // the answer was lost, say
	send("guess", order)
	stats, _ := r.Stats(context.Background())
	fmt.Println(stats.Messages, "message in the queue")
	// Output:
	// 202, queued: true, SMTP: 0 ""
	// 202, queued: true, SMTP: 0 ""
	// 401, queued: false, SMTP: 535 "5.7.8"
	// 1 message in the queue
}

// An application logs on with the token of a credential, which needs no user
// name.
func Example_bearer() {
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	defer server.Close()
	keys := auth.NewKeyring(new(auth.MemoryCredentials), nil)
	token, _, err := keys.Issue(
		context.Background(), auth.Credential{Owner: "shop@example.com", Label: "invoices"},
	)
	if err != nil {
		log.Fatal(err)
	}
	users := connector.Submission("users")
	users.Limits.AuthTarpit = -1
	r, err := relay.New(relay.Config{
		Hostname:   "relay.example.com",
		Spool:      memspool.New(nil),
		Connectors: []*connector.Connector{users},
		TLS:        server.TLS,
		Auth:       &auth.Server{Tokens: keys, Throttle: auth.NewThrottle(nil)},
		Quota:      keys,
		Transport: delivery.TransportFunc(func(
			_ context.Context, a *delivery.Attempt,
		) []delivery.Result {
			return nil
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	server.Config.Handler, _ = httpapi.New(httpapi.Config{Relay: r, Connector: "users"})

	for _, shown := range []string{token, "guess"} {
		req, _ := http.NewRequest(
			http.MethodPost, server.URL+"/messages",
			strings.NewReader(`{"from":"shop@example.com","to":["alice@example.net"]}`),
		)
		req.Header.Set("Authorization", "Bearer "+shown)
		req.Header.Set("Content-Type", "application/json")
		res, err := server.Client().Do(req)
		if err != nil {
			log.Fatal(err)
		}
		res.Body.Close()
		fmt.Printf("%s %q\n", res.Status, res.Header["Www-Authenticate"])
	}
	// Output:
	// 202 Accepted []
	// 401 Unauthorized ["Bearer realm=\"submission\", error=\"invalid_token\""]
}

// A message that is ready goes into the body as it is.
func Example_raw() {
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	defer server.Close()
	r := newRelay(memspool.New(nil), server.TLS)
	defer r.Close()
	server.Config.Handler, _ = httpapi.New(httpapi.Config{Relay: r, Connector: "users"})

	req,
		_ := http.NewRequest(http.MethodPost, server.URL+
		"/messages?from=shop@example.com&to=alice@example.net&notify=NEVER",
		strings.NewReader(
			"From: shop@example.com\nTo: alice@example.net\nSubject: Your order\n\nIt is on "+
				"its way.\n",
		))
	req.SetBasicAuth("shop", "secret")
	req.Header.Set("Content-Type", "message/rfc822")
	res, err := server.Client().Do(req)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res.Status)
	// Output: 202 Accepted
}

func ExampleNew() {
	r := newRelay(memspool.New(nil), certificateOfExample())
	defer r.Close()
	_, err := httpapi.New(httpapi.Config{Relay: r, Connector: "devices"})
	fmt.Println(err)
	// Output: Connector: the relay has no connector "devices", or it is disabled
}

// Behind a proxy that ends TLS, the proxy's word counts for where the client is
// and whether it came by TLS.
func ExampleConfig_proxies() {
	r := newRelay(memspool.New(nil), certificateOfExample())
	defer r.Close()
	handler, err := httpapi.New(
		httpapi.Config{
			Relay: r, Connector: "users",
			Proxies: []connector.Range{connector.MustParseRange("10.0.0.0/24")},
		},
	)
	if err != nil {
		log.Fatal(err)
	}
	for _, proxy := range []string{"10.0.0.7:4000", "10.9.9.9:4000"} {
		req := httptest.NewRequest(
			http.MethodPost, "/messages",
			strings.NewReader(`{"from":"shop@example.com","to":["a@example.net"]}`),
		)
		req.SetBasicAuth("shop", "secret")
		req.RemoteAddr = proxy
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Forwarded-For", "203.0.113.9")
		req.Header.Set("X-Forwarded-Proto", "https")
		res := httptest.NewRecorder()
		handler.ServeHTTP(res, req)
		fmt.Println(proxy, res.Code)
	}
	// Output:
	// 10.0.0.7:4000 202
	// 10.9.9.9:4000 403
}

// What a refusal looks like.
func Example_problem() {
	r := newRelay(memspool.New(nil), certificateOfExample())
	defer r.Close()
	handler, _ := httpapi.New(httpapi.Config{Relay: r, Connector: "users"})
	req := httptest.NewRequest(
		http.MethodPost, "https://relay.example.com/messages",
		strings.NewReader(`{"from":"ceo@example.com","to":["a@example.net"]}`),
	)
	req.SetBasicAuth("shop", "secret")
	req.Header.Set("Content-Type", "application/json")
	res := httptest.NewRecorder()
	handler.ServeHTTP(res, req)
	body, _ := io.ReadAll(res.Body)
	fmt.Println(strings.ReplaceAll(string(body), `,"`, ",\n\""))
	// Output:
	// {"type":"about:blank",
	// "title":"Forbidden",
	// "status":403,
	// "detail":"Client does not have permissions to send as this sender",
	// "smtp":{"code":550,
	// "enhanced":"5.7.60",
	// "text":"Client does not have permissions to send as this sender"}}
}

// certificateOfExample borrows that of a test server.
func certificateOfExample() *tls.Config {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	return server.TLS
}
