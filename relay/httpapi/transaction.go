package httpapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
)

// transaction is one message on its way in.
type transaction struct {
	*handler
	client  *relay.ClientSession
	limits  connector.Limits
	request *http.Request
	key     string // the Idempotency-Key; empty without one
	// reserved is what it has of handler.buffered.
	reserved int64
}

// idempotencyKey reads the field, if there is one.
func (t *transaction) idempotencyKey() error {
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
	t.key = v
	return nil
}

// raw takes a message as it stands, with the envelope in the query.
func (t *transaction) raw(ctx context.Context) (string, error) {
	r := t.request
	m, err := envelope(r.URL.RawQuery)
	if err != nil {
		return "", t.client.Refuse(ctx, "mail", err)
	}
	m.Content, m.Size = r.Body, max(r.ContentLength, 0)
	return t.submit(ctx, m)
}

func (t *transaction) submit(ctx context.Context, m *relay.Message) (string, error) {
	m.Key = t.key
	receipt, err := t.client.Submit(ctx, m)
	if errors.Is(err, relay.ErrKeyReused) {
		return "", problem{
			Status: http.StatusUnprocessableEntity,
			Detail: "This Idempotency-Key was used for another request",
		}
	}
	if err != nil {
		return "", err
	}
	return receipt.QueueID, nil
}

func tooLarge() error {
	return relay.Reject(552, "5.3.4", "Message size exceeds fixed maximum message size")
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
	n := recipients(body, t.limits.MaxRecipients)
	if err := t.reserve(ctx, int64(n)*recipientWeight); err != nil {
		return "", err
	}
	m, faults := decode(body, t.limits.MaxRecipients)
	if len(faults) > 0 {
		return "", t.invalid(ctx, "The body is not a message as /openapi.json describes it", faults)
	}
	if n := m.recipients(); t.limits.MaxRecipients > 0 && n > t.limits.MaxRecipients {
		return "", t.client.Refuse(ctx, "rcpt", relay.Defer(452, "4.5.3", "Too many recipients"))
	}
	m.seed = sha256.Sum256(body)
	out, faults := m.compose()
	if len(faults) > 0 {
		return "", t.invalid(ctx, "A field of the message is not valid", faults)
	}
	return t.submit(ctx, out)
}

// invalid refuses a body with faults.
func (t *transaction) invalid(ctx context.Context, detail string, faults faults) error {
	_ = t.client.Refuse(ctx, "data", badArguments("Invalid arguments"))
	return problem{
		Status: http.StatusBadRequest, Detail: detail,
		SMTP: &smtpReply{501, "5.5.4", "Invalid arguments"}, Errors: faults,
	}
}

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
