package connector

import (
	"math"
	"time"
)

// RateSource says by what a message rate is counted.
type RateSource uint8

const (
	RateByAddress RateSource = iota // by the remote address
	RateByUser                      // by the user who logged on, and without one by the address
	RateByAll                       // by address and by user, each with the whole rate
	RateByNone                      // not at all
)

func rateSourceWords() []word[RateSource] {
	return []word[RateSource]{
		{"IPAddress", RateByAddress},
		{"User", RateByUser},
		{"All", RateByAll},
		{"None", RateByNone},
	}
}

// ParseRateSource reads a rate source.
func ParseRateSource(s string) (RateSource, error) {
	return parseOne("rate source", s, rateSourceWords())
}

// String returns Exchange's word for the source.
func (r RateSource) String() string { return formatOne("RateSource", r, rateSourceWords()) }

// MarshalText returns Exchange's word for the source. It fails for a value that
// is none.
func (r RateSource) MarshalText() ([]byte, error) {
	return marshalOne("rate source", r, rateSourceWords())
}

// UnmarshalText reads what [ParseRateSource] reads.
func (r *RateSource) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRateSource(string(text))
	return err
}

// Limits bound a connector. In every field 0 means the default. A negative
// value means no limit, in the fields that say so; elsewhere it is a fault.
// Where several relays share a queue, connections are bounded at each by itself
// and messages a minute at all together.
type Limits struct {
	// MaxMessageBytes bounds a message, 65536 to 2147483647 octets.
	// Attachments grow by a third on the way. Defaults to 37748736 (36 MiB).
	MaxMessageBytes int64
	// MaxHeaderBytes bounds a message's header section, 1 to 2147483647 octets.
	// Defaults to 262144 (256 KiB).
	MaxHeaderBytes int64
	// MaxRecipients bounds the recipients of a message, 1 to 512000. Further
	// ones are answered 452 4.5.3, and the message goes to those before them.
	// Defaults to 200.
	MaxRecipients int
	// MaxHops bounds the Received fields of a message, 1 to 500. Defaults to
	// 30.
	MaxHops int
	// MaxLocalHops bounds the Received fields by this relay, 1 to 50. Negative:
	// no limit. Defaults to 8.
	MaxLocalHops int
	// MaxConnections bounds the connections at a time. Negative: no limit.
	// Defaults to 5000.
	MaxConnections int
	// MaxConnectionsPerSource bounds them for one remote address, up to 10000.
	// Negative: no limit. Defaults to 20.
	MaxConnectionsPerSource int
	// MaxConnectionsPercentPerSource bounds them for one remote address to a
	// percentage of those still free, 1 to 100, but not below one connection.
	// Negative: no limit. Defaults to 2.
	MaxConnectionsPercentPerSource int
	// ConnectionRate bounds the new connections a minute of the whole
	// connector; one remote address may have half of them. Negative: no limit.
	// Defaults to 1200.
	ConnectionRate int
	// MessageRate bounds the messages a minute from one source, as
	// MessageRateBy counts them; addresses of one IPv6 network of 64 bits are
	// one source. Negative: no limit. Defaults to no limit, and for the usage
	// Client to 5 by user.
	MessageRate int
	// MessageRateBy says what a source is. Defaults to the remote address.
	MessageRateBy RateSource
	// MaxProtocolErrors bounds the wrong commands of a session. Negative: no
	// limit. Defaults to 5.
	MaxProtocolErrors int
	// MaxLogonFailures bounds the failed logons of a session, up to 10.
	// Negative: no limit. Defaults to 3.
	MaxLogonFailures int
	// InactivityTimeout ends a session in which nothing happens, 1 second to 1
	// day and shorter than ConnectionTimeout. Defaults to 5 minutes.
	InactivityTimeout time.Duration
	// ConnectionTimeout ends a session whatever happens, 1 second to 1 day.
	// Defaults to 10 minutes.
	ConnectionTimeout time.Duration
	// Tarpit delays error replies to anonymous sessions, up to 10 minutes.
	// Negative: no delay. Defaults to 5 seconds.
	Tarpit time.Duration
	// AuthTarpit delays the replies to failed logons, up to 10 minutes.
	// Negative: no delay. Defaults to 5 seconds.
	AuthTarpit time.Duration
}

// clientMessageRate is Exchange's default for users at a mail program.
const clientMessageRate = 5

const (
	maxTimeout = 24 * time.Hour
	maxTarpit  = 10 * time.Minute
)

// WithDefaults returns l with every default filled in for the usage; what has
// no limit is returned as -1.
func (l Limits) WithDefaults(u Usage) Limits {
	if l.MessageRate == 0 && u == Client {
		l.MessageRate = clientMessageRate
		if l.MessageRateBy == RateByAddress {
			l.MessageRateBy = RateByUser
		}
	}
	l.MaxMessageBytes = bounded(l.MaxMessageBytes, 36<<20)
	l.MaxHeaderBytes = bounded(l.MaxHeaderBytes, 256<<10)
	l.MaxRecipients = bounded(l.MaxRecipients, 200)
	l.MaxHops = bounded(l.MaxHops, 30)
	l.MaxLocalHops = orOff(l.MaxLocalHops, 8)
	l.MaxConnections = orOff(l.MaxConnections, 5000)
	l.MaxConnectionsPerSource = orOff(l.MaxConnectionsPerSource, 20)
	l.MaxConnectionsPercentPerSource = orOff(l.MaxConnectionsPercentPerSource, 2)
	l.ConnectionRate = orOff(l.ConnectionRate, 1200)
	l.MessageRate = orOff(l.MessageRate, -1)
	l.MaxProtocolErrors = orOff(l.MaxProtocolErrors, 5)
	l.MaxLogonFailures = orOff(l.MaxLogonFailures, 3)
	l.InactivityTimeout = bounded(l.InactivityTimeout, 5*time.Minute)
	l.ConnectionTimeout = bounded(l.ConnectionTimeout, 10*time.Minute)
	l.Tarpit = orOff(l.Tarpit, 5*time.Second)
	l.AuthTarpit = orOff(l.AuthTarpit, 5*time.Second)
	return l
}

type quantity interface {
	int | int64 | time.Duration
}

// bounded is for a limit that cannot be switched off.
func bounded[T quantity](v, fallback T) T {
	if v <= 0 {
		return fallback
	}
	return v
}

// orOff is for a limit that a negative value switches off.
func orOff[T quantity](v, fallback T) T {
	if v < 0 {
		return -1
	}
	return bounded(v, fallback)
}

func (l Limits) validate(u Usage, fault report) {
	d := Limits{}.WithDefaults(u)
	checkBounded(
		fault, "MaxMessageBytes", l.MaxMessageBytes, 64<<10, math.MaxInt32, d.MaxMessageBytes,
	)
	checkBounded(fault, "MaxHeaderBytes", l.MaxHeaderBytes, 1, math.MaxInt32, d.MaxHeaderBytes)
	checkBounded(fault, "MaxRecipients", l.MaxRecipients, 1, 512000, d.MaxRecipients)
	checkBounded(fault, "MaxHops", l.MaxHops, 1, 500, d.MaxHops)
	checkOff(fault, "MaxLocalHops", l.MaxLocalHops, 50)
	checkOff(fault, "MaxConnections", l.MaxConnections, math.MaxInt32)
	checkOff(fault, "MaxConnectionsPerSource", l.MaxConnectionsPerSource, 10000)
	checkOff(fault, "MaxConnectionsPercentPerSource", l.MaxConnectionsPercentPerSource, 100)
	checkOff(fault, "ConnectionRate", l.ConnectionRate, math.MaxInt32)
	checkOff(fault, "MessageRate", l.MessageRate, math.MaxInt32)
	if _, ok := nameOf(l.MessageRateBy, rateSourceWords()); !ok {
		fault(
			"MessageRateBy", "%d is no rate source; valid are IPAddress, User, All, None",
			l.MessageRateBy,
		)
	}
	checkOff(fault, "MaxProtocolErrors", l.MaxProtocolErrors, math.MaxInt32)
	checkOff(fault, "MaxLogonFailures", l.MaxLogonFailures, 10)
	checkBounded(
		fault, "InactivityTimeout", l.InactivityTimeout, time.Second, maxTimeout,
		d.InactivityTimeout,
	)
	checkBounded(
		fault, "ConnectionTimeout", l.ConnectionTimeout, time.Second, maxTimeout,
		d.ConnectionTimeout,
	)
	checkOff(fault, "Tarpit", l.Tarpit, maxTarpit)
	checkOff(fault, "AuthTarpit", l.AuthTarpit, maxTarpit)

	e := l.WithDefaults(u)
	if e.InactivityTimeout >= e.ConnectionTimeout {
		fault("InactivityTimeout", "%v is not shorter than ConnectionTimeout, %v; lower it or "+
			"raise ConnectionTimeout",
			e.InactivityTimeout, e.ConnectionTimeout)
	}
}

func checkBounded[T quantity](fault report, field string, v, low, high, fallback T) {
	if v != 0 && (v < low || v > high) {
		fault(
			field, "%v is out of range; use %v to %v, or 0 for the default, %v", v, low, high,
			fallback,
		)
	}
}

func checkOff[T quantity](fault report, field string, v, high T) {
	if v > high {
		fault(field, "%v is out of range; use at most %v, or -1 for no limit", v, high)
	}
}
