package connector_test

import (
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	. "github.com/postern-mail/postern/connector"
)

func defaults() Limits {
	return Limits{
		MaxMessageBytes:                37748736,
		MaxHeaderBytes:                 262144,
		MaxRecipients:                  200,
		MaxHops:                        30,
		MaxLocalHops:                   8,
		MaxConnections:                 5000,
		MaxConnectionsPerSource:        20,
		MaxConnectionsPercentPerSource: 2,
		ConnectionRate:                 1200,
		MessageRate:                    -1,
		MessageRateBy:                  RateByAddress,
		MaxProtocolErrors:              5,
		MaxLogonFailures:               3,
		InactivityTimeout:              5 * time.Minute,
		ConnectionTimeout:              10 * time.Minute,
		Tarpit:                         5 * time.Second,
		AuthTarpit:                     5 * time.Second,
	}
}

func TestLimitsWithDefaults(t *testing.T) {
	t.Parallel()
	for _, u := range []Usage{Custom, Internal, Internet, Partner} {
		if got := (Limits{}).WithDefaults(u); got != defaults() {
			t.Errorf("%s: %+v", u, got)
		}
	}
	client := defaults()
	client.MessageRate, client.MessageRateBy = 5, RateByUser
	if got := (Limits{}).WithDefaults(Client); got != client {
		t.Errorf("Client: %+v", got)
	}
	if got := client.WithDefaults(Custom); got != client {
		t.Errorf("defaults do not stay: %+v", got)
	}
	client.MessageRateBy = RateByAll
	if got := (Limits{MessageRateBy: RateByAll}).WithDefaults(Client); got != client {
		t.Errorf("a source that was set does not stay: %+v", got)
	}
	if got := (Limits{MessageRate: 100}).WithDefaults(Client); got.MessageRate != 100 ||
		got.MessageRateBy != RateByAddress {
		t.Errorf("a rate that was set does not stay: %+v", got)
	}

	off := Limits{
		MaxLocalHops: -1, MaxConnections: -2, MaxConnectionsPerSource: -3,
		MaxConnectionsPercentPerSource: -4, ConnectionRate: -5,
		MessageRate: -6, MaxProtocolErrors: -7, MaxLogonFailures: -8, Tarpit: -9,
		AuthTarpit: -time.Hour,
	}
	want := defaults()
	want.MaxLocalHops, want.MaxConnections = -1, -1
	want.MaxConnectionsPerSource, want.MaxConnectionsPercentPerSource = -1, -1
	want.ConnectionRate, want.MessageRate = -1, -1
	want.MaxProtocolErrors, want.MaxLogonFailures = -1, -1
	want.Tarpit, want.AuthTarpit = -1, -1
	if got := off.WithDefaults(Client); got != want {
		t.Errorf("off: %+v", got)
	}
	wantFaults(t, valid(func(c *Connector) { c.Limits = off }).Validate())

	// What cannot be switched off is bounded even when nobody looks at the
	// fault.
	never := Limits{
		MaxMessageBytes: -1, MaxHeaderBytes: -1, MaxRecipients: -1, MaxHops: -1,
		InactivityTimeout: -1, ConnectionTimeout: -1,
	}
	if got := never.WithDefaults(Custom); got != defaults() {
		t.Errorf("never: %+v", got)
	}
}

func TestLimitsRanges(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, test := range []struct {
		field     string
		low, high int64 // low 0: negative is off
		fault     string
	}{
		{
			"MaxMessageBytes", 65536, math.MaxInt32,
			"use 65536 to 2147483647, or 0 for the default, 37748736",
		},
		{"MaxHeaderBytes", 1, math.MaxInt32, "use 1 to 2147483647, or 0 for the default, 262144"},
		{"MaxRecipients", 1, 512000, "use 1 to 512000, or 0 for the default, 200"},
		{"MaxHops", 1, 500, "use 1 to 500, or 0 for the default, 30"},
		{"MaxLocalHops", 0, 50, "use at most 50, or -1 for no limit"},
		{"MaxConnections", 0, math.MaxInt32, "use at most 2147483647, or -1 for no limit"},
		{"MaxConnectionsPerSource", 0, 10000, "use at most 10000, or -1 for no limit"},
		{"MaxConnectionsPercentPerSource", 0, 100, "use at most 100, or -1 for no limit"},
		{"ConnectionRate", 0, math.MaxInt32, "use at most 2147483647, or -1 for no limit"},
		{"MessageRate", 0, math.MaxInt32, "use at most 2147483647, or -1 for no limit"},
		{"MaxProtocolErrors", 0, math.MaxInt32, "use at most 2147483647, or -1 for no limit"},
		{"MaxLogonFailures", 0, 10, "use at most 10, or -1 for no limit"},
		{"InactivityTimeout", int64(time.Second), int64(day - 1), ""},
		{
			"ConnectionTimeout", int64(5*time.Minute + 1), int64(day),
			"use 1s to 24h0m0s, or 0 for the default, 10m0s",
		},
		{"Tarpit", 0, int64(10 * time.Minute), "use at most 10m0s, or -1 for no limit"},
		{"AuthTarpit", 0, int64(10 * time.Minute), "use at most 10m0s, or -1 for no limit"},
	} {
		t.Run(test.field, func(t *testing.T) {
			t.Parallel()
			check := func(v int64, fault string) {
				t.Helper()
				wantLimitFault(t, test.field, v, fault)
			}
			check(0, "")
			check(max(test.low, 1), "")
			check(test.high, "")
			if test.fault == "" {
				return
			}
			check(test.high+1, test.fault)
			if test.low == 0 {
				check(-1, "")
				return
			}
			if test.field != "ConnectionTimeout" {
				check(-1, test.fault)
			}
			if test.low > 1 && test.field != "ConnectionTimeout" {
				check(test.low-1, test.fault)
			}
		})
	}
}

func wantLimitFault(t *testing.T, field string, v int64, fault string) {
	t.Helper()
	c := valid(func(c *Connector) {
		if field == "InactivityTimeout" {
			c.Limits.ConnectionTimeout = 24 * time.Hour
		}
		reflect.ValueOf(&c.Limits).Elem().FieldByName(field).SetInt(v)
	})
	if fault == "" {
		wantFaults(t, c.Validate())
		return
	}
	value := reflect.ValueOf(&c.Limits).Elem().FieldByName(field).Interface()
	wantFaults(t, c.Validate(), "Limits."+field+": "+fmt.Sprint(value)+" is out of range; "+fault)
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		inactivity, connection time.Duration
		want                   []string
	}{
		{time.Second, 2 * time.Second, nil},
		{
			0, 2 * time.Minute,
			[]string{
				"Limits.InactivityTimeout: 5m0s is not shorter than ConnectionTimeout, 2m0s; " +
					"lower it or raise ConnectionTimeout",
			},
		},
		{
			10 * time.Minute, 0,
			[]string{
				"Limits.InactivityTimeout: 10m0s is not shorter than ConnectionTimeout, 10m0s; " +
					"lower it or raise ConnectionTimeout",
			},
		},
		{
			time.Second - 1, time.Hour,
			[]string{
				"Limits.InactivityTimeout: 999.999999ms is out of range; use 1s to 24h0m0s, or " +
					"0 for the default, 5m0s",
			},
		},
		{-1, -1, []string{
			"Limits.InactivityTimeout: -1ns is out of range; use 1s to 24h0m0s, or 0 for the " +
				"default, 5m0s",
			"Limits.ConnectionTimeout: -1ns is out of range; use 1s to 24h0m0s, or 0 for the " +
				"default, 10m0s",
		}},
	} {
		wantFaults(t, valid(func(c *Connector) {
			c.Limits.InactivityTimeout = test.inactivity
			c.Limits.ConnectionTimeout = test.connection
		}).Validate(), test.want...)
	}
	wantFaults(t, valid(func(c *Connector) { c.Limits.MessageRateBy = 7 }).Validate(),
		"Limits.MessageRateBy: 7 is no rate source; valid are IPAddress, User, All, None")
}
