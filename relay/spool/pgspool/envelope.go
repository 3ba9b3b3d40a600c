package pgspool

import (
	"errors"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/postern-mail/postern/relay/spool"
)

// Envelopes are fields with numbers, in the wire format of protocol buffers:
// any octets keep their values, and a program passes over the fields of a later
// one. A field that has its zero value is left out.

var (
	errEnvelope = errors.New("the envelope cannot be read")
	errMissing  = errors.New("its row is missing")
)

const (
	messageCreated protowire.Number = iota + 1
	messageFrom
	messageEnvelopeID
	messageReturn
	messageBody
	messageUTF8
	messageSignatures
	messageConnector
	messageRemote
	messageUser
	messageStream
	messageNotBefore
	messageReportOf
	messageLabel
	messageMoves
)

const (
	recipientAddress protowire.Number = iota + 1
	recipientNotify
	recipientDelayed
	recipientOriginal
	recipientStatus
	recipientDiagnostic
	recipientHost
)

// maxDiagnostic is the length of Recipient.Diagnostic as it is kept.
const maxDiagnostic = 512

// fields appends fields.
type fields []byte

func (f *fields) text(n protowire.Number, s string) {
	if s != "" {
		*f = protowire.AppendString(protowire.AppendTag(*f, n, protowire.BytesType), s)
	}
}

func (f *fields) bytes(n protowire.Number, b []byte) {
	*f = protowire.AppendBytes(protowire.AppendTag(*f, n, protowire.BytesType), b)
}

func (f *fields) number(n protowire.Number, v uint64) {
	if v != 0 {
		*f = protowire.AppendVarint(protowire.AppendTag(*f, n, protowire.VarintType), v)
	}
}

func (f *fields) flag(n protowire.Number, v bool) {
	if v {
		f.number(n, 1)
	}
}

// The times that can be kept, in nanoseconds.
var (
	firstTime = time.Date(1678, 1, 1, 0, 0, 0, 0, time.UTC).Local()
	lastTime  = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC).Local()
)

// kept is the time that is kept for another one: the nearest that can be. The
// zero time stays. What is written passes through it, and what is read.
func kept(t time.Time) time.Time {
	switch {
	case t.IsZero():
		return time.Time{}
	case t.Before(firstTime):
		return firstTime
	case t.After(lastTime):
		return lastTime
	}
	return t
}

// time keeps a time in nanoseconds; the zero time is left out.
func (f *fields) time(n protowire.Number, t time.Time) {
	if !t.IsZero() {
		ns := uint64(kept(t).UnixNano())
		*f = protowire.AppendFixed64(protowire.AppendTag(*f, n, protowire.Fixed64Type), ns)
	}
}

// field is one that was read.
type field struct {
	number protowire.Number
	value  uint64
	data   []byte
}

func (f *field) time() time.Time { return kept(time.Unix(0, int64(f.value))) }

// readFields calls f for each field of b.
func readFields(b []byte, f func(field)) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errEnvelope
		}
		v := field{number: number}
		switch b = b[n:]; kind {
		case protowire.VarintType:
			v.value, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			v.value, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			v.data, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return errEnvelope
		}
		b = b[n:]
		f(v)
	}
	return nil
}

// appendMessage encodes what is kept of a message beside its id and size.
func appendMessage(b []byte, m *spool.Message) []byte {
	f := fields(b)
	f.time(messageCreated, m.Created)
	f.text(messageFrom, m.From)
	f.text(messageEnvelopeID, m.EnvelopeID)
	f.text(messageReturn, string(m.Return))
	f.text(messageBody, string(m.Body))
	f.flag(messageUTF8, m.UTF8)
	f.number(messageSignatures, uint64(max(m.Signatures, 0)))
	f.text(messageConnector, m.Origin.Connector)
	f.text(messageRemote, m.Origin.Remote)
	f.text(messageUser, m.Origin.User)
	f.text(messageStream, m.Stream)
	f.time(messageNotBefore, m.NotBefore)
	if !m.ReportOf.IsZero() {
		f.bytes(messageReportOf, m.ReportOf[:])
	}
	for k, v := range m.Labels {
		var label fields
		label.text(1, k)
		label.text(2, v)
		f.bytes(messageLabel, label)
	}
	f.number(messageMoves, uint64(max(m.Moves, 0)))
	return f
}

// readMessage decodes what appendMessage wrote.
func readMessage(b []byte) (m spool.Message, err error) {
	err = readFields(b, func(f field) {
		switch f.number {
		case messageCreated:
			m.Created = f.time()
		case messageFrom:
			m.From = string(f.data)
		case messageEnvelopeID:
			m.EnvelopeID = string(f.data)
		case messageReturn:
			m.Return = spool.Return(f.data)
		case messageBody:
			m.Body = spool.Body(f.data)
		case messageUTF8:
			m.UTF8 = f.value != 0
		case messageSignatures:
			m.Signatures = int(min(f.value, math.MaxInt32))
		case messageConnector:
			m.Origin.Connector = string(f.data)
		case messageRemote:
			m.Origin.Remote = string(f.data)
		case messageUser:
			m.Origin.User = string(f.data)
		case messageStream:
			m.Stream = string(f.data)
		case messageNotBefore:
			m.NotBefore = f.time()
		case messageReportOf:
			copy(m.ReportOf[:], f.data)
		case messageLabel:
			readLabel(&m, f.data)
		case messageMoves:
			m.Moves = int(min(f.value, math.MaxInt32))
		}
	})
	return m, err
}

func readLabel(m *spool.Message, b []byte) {
	var pair [2]string
	err := readFields(b, func(f field) {
		if f.number == 1 || f.number == 2 {
			pair[f.number-1] = string(f.data)
		}
	})
	if err != nil {
		return
	}
	if m.Labels == nil {
		m.Labels = make(map[string]string)
	}
	m.Labels[pair[0]] = pair[1]
}

// The fields of the recipients of a delivery. A program that knows no crashes
// passes over them, and forgets them when it settles.
const (
	listRecipient protowire.Number = iota + 1
	listCrashes                    // stands first, where poisonText looks for it
)

// maxCrashes is the number that one octet holds.
const maxCrashes = 127

// appendRecipients encodes the recipients of a delivery and its crashes.
func appendRecipients(b []byte, list []spool.Recipient, crashes int) []byte {
	f := fields(b)
	f.number(listCrashes, uint64(min(max(crashes, 0), maxCrashes)))
	var one fields
	for i := range list {
		one = appendRecipient(one[:0], &list[i])
		f.bytes(listRecipient, one)
	}
	return f
}

func appendRecipient(f fields, r *spool.Recipient) fields {
	f.text(recipientAddress, r.Address)
	f.number(recipientNotify, uint64(r.Notify))
	f.flag(recipientDelayed, r.Delayed)
	f.text(recipientOriginal, r.Original)
	f.text(recipientStatus, r.Status)
	f.text(recipientDiagnostic, r.Diagnostic[:min(len(r.Diagnostic), maxDiagnostic)])
	f.text(recipientHost, r.Host)
	return f
}

// readRecipients decodes what appendRecipients wrote. A delivery has at least
// one.
func readRecipients(b []byte) (list []spool.Recipient, crashes int, err error) {
	damaged := false
	err = readFields(b, func(f field) {
		switch f.number { // others are of a later program
		case listRecipient:
			r, err := readRecipient(f.data)
			damaged = damaged || err != nil
			list = append(list, r)
		case listCrashes:
			crashes = int(min(f.value, maxCrashes))
		}
	})
	if err == nil && (damaged || len(list) == 0) {
		err = errEnvelope
	}
	return list, crashes, err
}

func readRecipient(b []byte) (r spool.Recipient, err error) {
	err = readFields(b, func(f field) {
		switch f.number {
		case recipientAddress:
			r.Address = string(f.data)
		case recipientNotify:
			r.Notify = spool.Notify(f.value)
		case recipientDelayed:
			r.Delayed = f.value != 0
		case recipientOriginal:
			r.Original = string(f.data)
		case recipientStatus:
			r.Status = string(f.data)
		case recipientDiagnostic:
			r.Diagnostic = string(f.data)
		case recipientHost:
			r.Host = string(f.data)
		}
	})
	return r, err
}
