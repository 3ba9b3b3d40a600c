package filespool

import (
	"encoding/binary"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/postern-mail/postern/relay/spool"
)

const maxDiagnostic = 512

// flagDelayed is set in the byte of a recipient's Notify.
const flagDelayed = 0x80

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendTime(b []byte, t int64) []byte { return binary.LittleEndian.AppendUint64(b, uint64(t)) }

// nanos is a time as it is kept: nanoseconds since 1970, those of the nearest
// time that these can express. fromNanos is its inverse.
func nanos(t time.Time) int64 {
	switch {
	case t.IsZero():
		return math.MinInt64
	case t.Before(fromNanos(math.MinInt64 + 1)):
		return math.MinInt64 + 1
	case t.After(fromNanos(math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == math.MinInt64 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// appendRest puts a length in front of what f appends.
func appendRest(b []byte, f func([]byte) []byte) []byte {
	at := len(b)
	b = f(append(b, 0, 0, 0, 0))
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

func appendRecipients(b []byte, rs []spool.Recipient) []byte {
	b = binary.AppendUvarint(b, uint64(len(rs)))
	for i := range rs {
		r := &rs[i]
		b = appendString(b, r.Address)
		notify := byte(r.Notify) &^ flagDelayed
		if r.Delayed {
			notify |= flagDelayed
		}
		b = append(b, notify)
		b = appendString(b, r.Original)
		b = appendString(b, r.Status)
		b = appendString(b, cut(r.Diagnostic))
		b = appendString(b, r.Host)
	}
	return b
}

func cut(s string) string {
	if len(s) <= maxDiagnostic {
		return s
	}
	n := maxDiagnostic
	for n > maxDiagnostic-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func appendDelivery(b []byte, d *spool.Delivery, states bool) []byte {
	b = binary.AppendUvarint(b, uint64(d.ID.Seq))
	b = appendKey(b, d.Key)
	b = appendTime(b, nanos(d.Due))
	if states {
		b = append(b, byte(standingOf(d.Held, d.Crashes)))
	}
	return appendRest(b, func(b []byte) []byte {
		b = appendTime(b, nanos(d.Expires))
		b = binary.AppendUvarint(b, uint64(max(d.Attempts, 0)))
		return appendRecipients(b, d.Recipients)
	})
}

func appendSettlement(b []byte, s *spool.Settlement) []byte {
	b = append(b, s.ID.Message[:]...)
	b = binary.AppendUvarint(b, uint64(s.ID.Seq))
	if len(s.Remaining) == 0 {
		return append(b, 0)
	}
	b = append(b, flagRemaining|byte(standingOf(s.Held, s.Crashes)))
	if s.Key != nil {
		b = appendKey(b, *s.Key)
	} else {
		b = append(b, 0)
	}
	b = appendTime(b, nanos(s.Due))
	return appendRest(b, func(b []byte) []byte {
		b = binary.AppendUvarint(b, uint64(max(s.Attempts, 0)))
		return appendRecipients(b, s.Remaining)
	})
}

func appendSettlements(b []byte, ss []spool.Settlement) []byte {
	b = binary.AppendUvarint(b, uint64(len(ss)))
	for i := range ss {
		b = appendSettlement(b, &ss[i])
	}
	return b
}

// appendSettleRecord makes the meta part of a record of settlements.
func appendSettleRecord(b []byte, ss []spool.Settlement, x extras) []byte {
	b = appendSettlements(b, ss)
	if len(x.events) > 0 {
		b = appendEvents(b, x.events)
	}
	return b
}

// ownFile tells of content in a file of its own.
type ownFile struct {
	size int64
	sum  uint32
}

// extras are what a step brings for the ledgers.
type extras struct {
	events []entry
	claim  []byte // as appendClaim makes it
}

func appendHead(b []byte, m *spool.Message, own *ownFile, x *extras, states bool) []byte {
	b = append(b, m.ID[:]...)
	b = binary.AppendUvarint(b, uint64(m.Size))
	var flags byte
	for i, set := range [...]bool{
		own != nil, m.UTF8, len(x.events) > 0, len(x.claim) > 0, states,
	} {
		if set {
			flags |= 1 << i
		}
	}
	b = append(b, flags)
	if own != nil {
		b = binary.LittleEndian.AppendUint32(b, own.sum)
	}
	if len(x.events) > 0 {
		b = appendEvents(b, x.events)
	}
	return append(b, x.claim...)
}

func appendCommit(
	b []byte, m *spool.Message, own *ownFile, ds []spool.Delivery, ss []spool.Settlement,
	x extras,
) []byte {
	states := slices.ContainsFunc(ds, func(d spool.Delivery) bool {
		return standingOf(d.Held, d.Crashes) != 0
	})
	b = appendHead(b, m, own, &x, states)
	b = binary.AppendUvarint(b, uint64(len(ds)))
	for i := range ds {
		b = appendDelivery(b, &ds[i], states)
	}
	b = appendSettlements(b, ss)
	b = appendTime(b, nanos(m.Created))
	for _, s := range [...]string{
		m.From, m.EnvelopeID, string(m.Return), string(m.Body),
		m.Origin.Connector, m.Origin.Remote, m.Origin.User,
	} {
		b = appendString(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Labels)))
	for k, v := range m.Labels {
		b = appendString(appendString(b, k), v)
	}
	late := !m.NotBefore.IsZero() || m.Moves > 0
	more := m.Stream != "" || !m.ReportOf.IsZero() || late
	if m.Signatures > 0 || more {
		b = binary.AppendUvarint(b, uint64(max(m.Signatures, 0)))
	}
	if more {
		b = append(appendString(b, m.Stream), m.ReportOf[:]...)
	}
	if late {
		b = appendTime(b, nanos(m.NotBefore))
	}
	if m.Moves > 0 {
		b = binary.AppendUvarint(b, uint64(m.Moves))
	}
	return b
}
