package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"time"
	"unicode/utf8"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/internal/header"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/internal/routing"
	"github.com/postern-mail/postern/relay/internal/sevenbit"
	"github.com/postern-mail/postern/relay/spool"
)

// intake is a message on its way into the queue, from a session or from Submit.
type intake struct {
	client  policy.Client
	session *Session // nil for Submit
	message spool.Message
	from    domains.Address
	rcpts   []routing.Recipient
	limits  connector.Limits
	trace   header.Received
	author  authors // of the header
	schedule
	claim     *claim // nil without an idempotency key
	duplicate bool   // it was queued before, with the same key
}

// accept reads the content, does what has to be done to the header, and
// commits. When it returns nil the message is durable: this one or, if it is a
// repetition, an earlier one.
func (r *Relay) accept(ctx context.Context, p *snapshot, in *intake, content io.Reader) error {
	err := r.queue(ctx, p, in, content)
	if in.isRepetition(err) {
		p.log.Info("queued before", "queue_id", in.trace.ID)
		return nil
	}
	return err
}

func (r *Relay) queue(ctx context.Context, p *snapshot, in *intake, content io.Reader) error {
	c, w, err := r.prepare(ctx, p, in, content, marking{r.store}.Create)
	if err != nil {
		return err
	}
	if p.cfg.Events != nil {
		r.events.expect(p.cfg.Events, in.accepted(time.Now()))
		defer r.events.forget(in.trace.ID)
	}
	if err := in.claim.commit(func() error { return w.Commit(ctx, c) }); err != nil {
		return err
	}
	if p.cfg.Events != nil {
		r.events.announce(in.trace.ID)
	}
	r.sched.Wake()
	in.log(p.log)
	return nil
}

// create begins a message; it is [spool.Store].Create, or Prepare's own.
type create func(ctx context.Context, id spool.ID) (spool.Writer, error)

// prepare does everything but the commit.
func (r *Relay) prepare(
	ctx context.Context, p *snapshot, in *intake, content io.Reader, begin create,
) (c spool.Commit, w spool.Writer, err error) {
	now := time.Now()
	in.message.Created = now
	in.message.ID = spool.NewID(now)
	memory := policy.NewShare(&r.memory)
	defer memory.Release()
	if err := memory.Take(policy.MessageMemory); err != nil {
		return c, nil, err
	}
	h, body, err := r.headers.Read(memory.ReadHeader(content), in.limits.MaxHeaderBytes)
	memory.HeaderRead()
	if errors.Is(err, header.ErrTooLarge) {
		return c, nil, policy.HeaderTooLarge.Reply()
	} else if err != nil {
		return c, nil, err
	}
	defer func() {
		if !errors.Is(err, policy.ErrLeftAlone) { // else a Policy may still be reading it
			h.Release()
		}
	}()
	if !h.Clean() {
		return c, nil, policy.BareLine.Reply()
	}
	if err := r.takeKey(in, h); err != nil {
		return c, nil, err
	}
	in.rcpts = routing.Distinct(in.rcpts)
	extra, err := p.checkHeader(ctx, in, h)
	if err != nil {
		return c, nil, err
	}
	if err := r.repeated(ctx, in, body); err != nil {
		return c, nil, err
	}
	if refusal := resolveLate(ctx, p.rules, in.client, in.rcpts); refusal != nil {
		return c, nil, refusal
	}
	if refusal := p.rules.DecideQuota(ctx, in.client); refusal != nil {
		return c, nil, refusal
	}
	if in.client.Stranger() {
		for i := range in.rcpts {
			in.rcpts[i].Distrust()
		}
	}
	in.message.Labels = labels(in.client.Identity, in.message.Labels)
	if labelBytes(in.message.Labels) > maxLabels {
		return c, nil, errManyLabels
	}
	if in.message.Stream != "" && !isWord(in.message.Stream) {
		return c, nil, invalid("Stream", in.message.Stream, errWord)
	}
	w, err = begin(ctx, in.message.ID)
	if err != nil {
		return c, nil, err
	}
	begun, ready := w, false
	defer func() {
		if !ready { // also when the reader of the content panics
			_ = begun.Abort()
		}
	}()
	signature, size, err := p.write(memory.WriteContent(w), in, h, extra, body)
	if err != nil {
		return c, nil, err
	}
	in.trace.ID = in.message.ID.String()
	in.trace.Time = now
	if len(in.rcpts) == 1 {
		// In A-labels: the field must not be what makes SMTPUTF8 necessary.
		in.trace.For, _ = in.rcpts[0].To.ASCII()
	}
	prepend := make([]byte, 0, 384+len(signature)+len(extra))
	prepend = in.trace.AppendTo(prepend)
	prepend = append(prepend, signature...)
	prepend = append(prepend, extra...)
	in.message.Size = size + int64(len(prepend))
	in.message.Signatures = signatures(signature)
	ready = true
	c = spool.Commit{
		Message: in.message,
		Deliveries: p.routes.Deliveries(
			in.rcpts, in.message.Stream, in.message.Size, now, p.retry.Expires,
		),
		Prepend: prepend,
		Claim:   in.claim.spool(),
	}
	in.schedule.apply(c.Deliveries, now)
	if r.eventLog != nil {
		c.Events = r.eventLog.records(in.accepted(time.Now()))
	}
	return c, w, nil
}

// labels returns the labels of a message: those of its sender's identity, and
// its own. They are a copy, since those of a session may change while events
// are read.
func labels(id *auth.Identity, own map[string]string) map[string]string {
	if id == nil || len(id.Labels) == 0 {
		return maps.Clone(own)
	}
	all := maps.Clone(id.Labels)
	maps.Copy(all, own)
	return all
}

// submission reports whether the message comes from who wrote it, so that it
// may be completed (RFC 6409 section 8): from an authenticated user, the
// application, or over HTTP. What another host relays is left as it is.
func (in *intake) submission() bool {
	return in.client.Identity != nil || !in.overSMTP()
}

// overSMTP reports whether the message comes by SMTP, and not from the
// application or over HTTP.
func (in *intake) overSMTP() bool { return in.session != nil && in.session.protocol == "" }

// checkHeader refuses what may not pass and removes what may not stay. It
// returns the fields to be added.
func (p *snapshot) checkHeader(ctx context.Context, in *intake, h *header.Header) ([]byte, error) {
	rights := in.client.Rights
	total, local := h.Hops(p.cfg.Hostname)
	if l := in.limits.MaxHops; l > 0 && total > l {
		return nil, policy.Loop.Reply()
	}
	if l := in.limits.MaxLocalHops; l > 0 && local > l {
		return nil, policy.Loop.Reply()
	}
	if in.submission() {
		removeBlank(h)
		if !h.Has("From") {
			if in.from.IsNull() {
				return nil, policy.NoFrom.Reply()
			}
			h.Add("From", "<"+in.from.String()+">")
		}
		if domain := p.rules.Complete; domain != "" {
			completeFields(h, domain)
		}
		// Before the authors are judged: a fold can change what a field says.
		foldFields(h)
	}
	if refusal := decideAuthors(p.rules, in, h); refusal != nil {
		return nil, refusal
	}
	wall := header.Firewall{
		Routing:      rights.Has(connector.AcceptHeadersRouting),
		Organization: rights.Has(connector.AcceptHeadersOrganization),
		Forest:       rights.Has(connector.AcceptHeadersForest),
	}
	if !in.client.Vouches() && h.Has("Authentication-Results") {
		wall.Own = func(id string) bool { return p.rules.IsOurs(in.client, id) }
	}
	wall.Apply(h)
	var extra []byte
	if in.submission() {
		extra = completeHeader(h, in.message.ID, p.cfg.Hostname, in.message.Created)
		extra = in.completeSender(extra, h)
	}
	if ask := p.cfg.Policy.Message; ask != nil && in.session != nil {
		m := &Incoming{QueueID: in.message.ID.String(), From: in.from, Header: h.Bytes()}
		for i := range in.rcpts {
			m.Recipients = append(m.Recipients, in.rcpts[i].To)
		}
		err := p.calls.policy.Consult(ctx, in.session.ID, func(ctx context.Context) error {
			return ask(ctx, in.session, m)
		})
		if err != nil {
			return nil, policy.ReplyTo(err)
		}
		in.message.Labels, in.message.Stream = in.session.Labels, in.session.Stream
		extra = append(extra, m.added...)
	}
	return extra, nil
}

// decideAuthors decides whether the client may use the addresses in From and
// Sender. Where it knows what a display name means that is not quoted as it
// must be, it quotes it.
func decideAuthors(p *policy.Rules, in *intake, h *header.Header) *policy.Reply {
	const every = connector.AcceptAnySender | connector.AcceptAuthoritativeDomainSender
	free := in.client.Rights.Has(every)
	if free && !in.submission() {
		return nil // whatever others have written
	}
	for _, name := range [...]string{"From", "Sender"} {
		switch h.Count(name) {
		case 0:
			continue
		case 1:
		default:
			return several(name)
		}
		list, err := in.addresses(h, name)
		f, _ := h.First(name)
		if err != nil || in.submission() && !utf8.Valid(f.RawValue()) {
			if quoted, ok := quoteName(h, name); ok {
				list, err, in.author = quoted, nil, authors{}
			}
		}
		switch {
		case free:
			continue
		case err != nil:
			return unreadable(name).Because(err)
		}
		for _, a := range list {
			from, err := domains.Parse(a)
			if err != nil {
				return unreadable(name).Because(err)
			}
			if r := p.DecideSender(in.client, from); r != nil {
				return r
			}
		}
	}
	return nil
}

func several(name string) *policy.Reply {
	if name == "From" {
		return policy.TwoFrom.Reply()
	}
	return policy.TwoSender.Reply()
}

func unreadable(name string) policy.ReplyID {
	if name == "From" {
		return policy.UnreadableFrom
	}
	return policy.UnreadableSender
}

// quoteName quotes the display name of a From or Sender field. It returns all
// that looks like an address in the field. It is not ok if the field stays as
// it is.
func quoteName(h *header.Header, name string) (list []string, ok bool) {
	value, list, err := header.QuoteName(h.Value(name))
	if err != nil {
		return nil, false
	}
	h.Rewrite(func(f header.Field, old string) string {
		if f.Is(name) {
			return " " + value + "\r\n"
		}
		return old
	})
	return list, true
}

// authors are the addresses of a From field.
type authors struct {
	read bool // the others are known
	list []string
	err  error
}

// authors reads the addresses of the From field, once.
func (in *intake) authors(h *header.Header) ([]string, error) {
	if !in.author.read {
		list, err := header.Addresses(h.Value("From"))
		in.author = authors{true, list, err}
	}
	return in.author.list, in.author.err
}

// addresses reads the addresses of From or Sender.
func (in *intake) addresses(h *header.Header, name string) ([]string, error) {
	if name == "From" {
		return in.authors(h)
	}
	return header.Addresses(h.Value(name))
}

// completeAddress adds the domain to a mailbox that the application gives
// without one.
func complete(p *policy.Rules, s string) string {
	if p.Complete != "" {
		return header.Complete(s, p.Complete)
	}
	return s
}

// completeFields adds the domain to the addresses of a header that have none.
func completeFields(h *header.Header, domain string) {
	h.Rewrite(func(f header.Field, value string) string {
		for _, name := range [...]string{"From", "Sender", "Reply-To", "To", "Cc"} {
			switch {
			case !f.Is(name):
			case (name == "From" || name == "Sender") && quotable(f.Value()):
				return value
			default:
				return header.Complete(value, domain)
			}
		}
		return value
	})
}

// quotable reports whether a value is one address behind a display name that is
// not quoted as it must be: in "Doe, John <app@example.com>" Doe is nobody.
func quotable(value string) bool {
	if _, err := header.Addresses(value); err == nil {
		return false
	}
	_, _, err := header.QuoteName(value)
	return err == nil
}

// removeBlank drops the fields that a message may have only with a value, so
// that they count as missing.
func removeBlank(h *header.Header) {
	h.Remove(func(f header.Field) bool {
		return len(bytes.TrimSpace(f.RawValue())) == 0 &&
			(f.Is("Date") || f.Is("Message-ID") || f.Is("From") || f.Is("Sender"))
	})
}

// completeHeader returns the fields that a message must have and lacks.
func completeHeader(h *header.Header, id spool.ID, hostname string, now time.Time) []byte {
	var b []byte
	if !h.Has("Date") {
		b = append(b, "Date: "...)
		b = now.AppendFormat(b, time.RFC1123Z)
		b = append(b, '\r', '\n')
	}
	if !h.Has("Message-ID") {
		b = append(b, "Message-ID: <"...)
		b = append(b, id.String()...)
		b = append(b, '@')
		b = append(b, hostname...)
		b = append(b, '>', '\r', '\n')
	}
	return b
}

// completeSender adds the Sender that a message by several authors, or by
// somebody else than its author, must have (RFC 5322 section 3.6.2, RFC 6409
// section 8.1): the envelope sender. The application need not be who its author
// is.
func (in *intake) completeSender(b []byte, h *header.Header) []byte {
	if in.from.IsNull() || h.Has("Sender") {
		return b
	}
	list, err := in.authors(h)
	if err != nil {
		return b
	}
	if len(list) == 1 && !header.HasGroup(h.Value("From")) {
		a, err := domains.Parse(list[0])
		if in.client.Identity == nil || err == nil && a.Key() == in.from.Key() {
			return b
		}
	}
	b = append(b, "Sender: <"...)
	b = append(b, in.from.String()...)
	return append(b, '>', '\r', '\n')
}

// write writes header and body, and returns the signatures that belong in
// front of them and the octets written. The signatures cover extra as well.
func (p *snapshot) write(
	w io.Writer, in *intake, h *header.Header, extra []byte, body io.Reader,
) (signature []byte, size int64, err error) {
	s, err := p.signer.sign(in, h, extra)
	if err != nil {
		return nil, 0, err
	}
	if in.message.Body == "BINARYMIME" || !in.overSMTP() {
		body = sevenbit.Lines(h.Values("Content-Type"), body)
	}
	out := &octets{w: w, eight: !sevenbit.ASCII(extra)}
	to := io.Writer(out)
	if s != nil {
		to = io.MultiWriter(out, s)
	}
	if in.submission() && in.message.Body != "BINARYMIME" {
		to = &lineBreaker{w: to}
	}
	if !in.overSMTP() {
		to = &crWriter{w: to}
	}
	if _, err = out.Write(h.Bytes()); err == nil {
		_, err = io.Copy(to, body)
	}
	switch {
	case errors.Is(err, sevenbit.ErrLines):
		err = policy.BareLine.Reply()
	case errors.Is(err, sevenbit.ErrUnfit):
		err = policy.UnclearParts.Because(err)
	}
	if s != nil {
		err = errors.Join(err, s.Close())
		signature = s.Fields()
	}
	if out.eight && in.message.Body != "BINARYMIME" {
		in.message.Body = "8BITMIME" // whatever was declared: the next hop must know (RFC 6152)
	}
	return signature, out.n, err
}

// octets counts what passes, and notes whether any of it has the eighth bit
// set.
type octets struct {
	w     io.Writer
	n     int64
	eight bool
}

func (o *octets) Write(p []byte) (int, error) {
	o.eight = o.eight || !sevenbit.ASCII(p)
	n, err := o.w.Write(p)
	o.n += int64(n)
	return n, err
}

// accepted is the event of a message that is durable.
func (in *intake) accepted(now time.Time) event.Event {
	e := aboutMessage(&in.message, now)
	e.Kind, e.Delay, e.Credential = event.Accepted, 0, credentialOf(in.client.Identity)
	e.To = make([]string, len(in.rcpts))
	for i := range in.rcpts {
		e.To[i] = in.rcpts[i].To.String()
	}
	if in.session != nil {
		e.Remote = in.session.Remote
		e.TLS, e.Certificate = in.session.tlsText, in.session.certificate
	}
	e.Identify()
	return e
}

// resolveLate looks up the recipients that RCPT took without asking. It refuses
// the message if no recipient of it exists, so that the client, and nobody
// whose address it has forged, is told. What cannot be known now is asked again
// at delivery.
func resolveLate(
	ctx context.Context, p *policy.Rules, c policy.Client, rcpts []routing.Recipient,
) *policy.Reply {
	missing := 0
	for i := range rcpts {
		r := &rcpts[i]
		if r.Placement != policy.Unresolved {
			continue
		}
		t, refusal := p.FindNow(ctx, r.To)
		switch {
		case refusal == nil:
			r.Placement = t
		case refusal.Code >= 500:
			r.Placement = policy.Unknown
			missing++
			if c.Stranger() {
				r.Notify = spool.NotifyNever // a report would go to a stranger's claim
			}
		}
	}
	if missing > 0 && missing == len(rcpts) {
		return policy.UnknownUser.Reply()
	}
	return nil
}
