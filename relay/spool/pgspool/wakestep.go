package pgspool

import (
	"cmp"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/postern-mail/postern/relay/spool"
)

// What a row of wake holds: the deliveries and the events of a message.
const (
	stepDelivery protowire.Number = iota + 1
	stepRecords
	stepSize
	stepCount // of deliveries
)

const (
	deliveryRoute protowire.Number = iota + 1
	deliveryDomain
	deliveryStream
	deliveryDue
	deliveryExpires
	deliveryAttempts
	deliveryHeld
	deliveryRecipients
)

// micro keeps a time as the server does, in microseconds; the zero time is left
// out.
func (f *fields) micro(n protowire.Number, t time.Time) {
	if !t.IsZero() {
		*f = protowire.AppendFixed64(
			protowire.AppendTag(*f, n, protowire.Fixed64Type), uint64(kept(t).UnixMicro()),
		)
	}
}

func (f *field) micro() time.Time { return kept(time.UnixMicro(int64(f.value))) }

// appendStep encodes what is to be made of a message of size bytes.
func appendStep(b []byte, size int64, c *spool.Commit) []byte {
	f := fields(b)
	f.number(stepSize, uint64(size))
	f.number(stepCount, uint64(len(c.Deliveries)))
	for i := range c.Deliveries {
		f.bytes(stepDelivery, appendDelivery(nil, &c.Deliveries[i]))
	}
	var records []byte
	for i := range c.Events {
		records = appendRecord(records, &c.Events[i])
	}
	f.bytes(stepRecords, records) // last, and always: so is a step seen to be whole
	return f
}

func appendDelivery(f fields, d *spool.Delivery) fields {
	f.text(deliveryRoute, d.Key.Route)
	f.text(deliveryDomain, d.Key.Domain)
	f.text(deliveryStream, d.Key.Stream)
	f.micro(deliveryDue, d.Due)
	f.micro(deliveryExpires, d.Expires)
	f.number(deliveryAttempts, uint64(max(d.Attempts, 0)))
	f.flag(deliveryHeld, d.Held)
	f.bytes(deliveryRecipients, appendRecipients(nil, d.Recipients, d.Crashes))
	return f
}

// readStep decodes what appendStep wrote. With an error, which tells what
// cannot be read, the step has what can, and a delivery without recipients in
// place of each other one: whoever leases that is told of the damage.
func readStep(id spool.ID, b []byte) (*step, error) {
	s := &step{message: &newMessage{id: id}}
	list := &s.message.deliveries
	var damage error
	count, whole := uint64(1), false
	err := readFields(b, func(f field) {
		var err error
		switch f.number {
		case stepCount:
			count = f.value
		case stepSize:
			s.message.size = int64(min(f.value, math.MaxInt64))
		case stepDelivery:
			var d spool.Delivery
			if d, err = readDelivery(f.data); err != nil {
				d = spool.Delivery{Key: d.Key}
			}
			*list = append(*list, d)
		case stepRecords:
			s.events, err = readEvents(f.data)
			whole = true
		}
		damage = cmp.Or(damage, err)
	})
	if len(*list) == 0 || uint64(len(*list)) < count {
		*list = append(*list, spool.Delivery{})
		whole = false
	}
	if err != nil || !whole {
		damage = errEnvelope
	}
	return s, damage
}

// readEvents returns the records that can be read, and an error if there are
// others.
func readEvents(b []byte) ([]spool.Record, error) {
	list, err := readRecords(b)
	n := len(list)
	list = slices.DeleteFunc(list, func(r spool.Record) bool {
		return r.Data == nil || len(r.Data) > spool.MaxRecord
	})
	if len(list) < n {
		err = errEnvelope
	}
	return list, err
}

func readDelivery(b []byte) (d spool.Delivery, err error) {
	rcptErr := errEnvelope
	err = readFields(b, func(f field) {
		switch f.number {
		case deliveryRoute:
			d.Key.Route = string(f.data)
		case deliveryDomain:
			d.Key.Domain = string(f.data)
		case deliveryStream:
			d.Key.Stream = string(f.data)
		case deliveryDue:
			d.Due = f.micro()
		case deliveryExpires:
			d.Expires = f.micro()
		case deliveryAttempts:
			d.Attempts = int(min(f.value, math.MaxInt32))
		case deliveryHeld:
			d.Held = f.value != 0
		case deliveryRecipients:
			d.Recipients, d.Crashes, rcptErr = readRecipients(f.data)
		}
	})
	return d, cmp.Or(err, rcptErr)
}
