package httpapi_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/httpapi"
)

// worst are bodies of many octets that make the most of the memory there is for
// them.
func worst(n int) map[string]map[string]any {
	file := base64.StdEncoding.EncodeToString(make([]byte, n/4*3))
	many := func(s string) string { return strings.Repeat(s, n/len(s)) }
	bodies := map[string]map[string]any{
		"ASCII":             {"text": many("x")},
		"beyond ASCII":      {"text": many("ü")},
		"control":           {"text": many("\x7f")},
		"equals":            {"html": many("=")},
		"blanks":            {"text": many(" \n")},
		"line ends":         {"text": many("\r")},
		"two texts":         {"text": many("ü")[:n/2], "html": many("€")[:n/6*3]},
		"attachment":        {"attachments": []any{map[string]any{"content": file}}},
		"header":            {"headers": headers("ü")},
		"header of escapes": {"headers": headers("= ")},
		"header of many Q":  {"headers": headers("==========ü")},
		"header of words":   {"headers": headers("=?")},
	}
	for _, b := range bodies {
		b["from"], b["to"] = "app@example.com", []string{"bob@example.net"}
	}
	return bodies
}

func headers(s string) map[string]string {
	h := make(map[string]string)
	for i := range 64 {
		word := strings.Repeat(s, 400/len(s))
		h[fmt.Sprint("X-", i)] = strings.TrimSpace(strings.Repeat(word+" x ", 8000/403))
	}
	return h
}

// The memory that a body counts is what it takes to make a message of it.
func TestWeightOfTheWorstText(t *testing.T) {
	for name, fields := range worst(2 << 20) {
		body, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		// As raw as JSON may be: marshalling escapes what need not be.
		body = []byte(strings.ReplaceAll(string(body), `\u007f`, "\x7f"))
		before := inUse()
		made, estimate, length := httpapi.Make(body, 200)
		held := inUse() - before + int64(len(body))
		runtime.KeepAlive(made)
		runtime.KeepAlive(fields)
		runtime.KeepAlive(body)
		if got := float64(held) / float64(len(body)); got > httpapi.Weight {
			t.Errorf("%s: takes up %.2f times its size", name, got)
		}
		if length > estimate {
			t.Errorf("%s: %d octets, %d were expected", name, length, estimate)
		}
	}
}

// Recipients take up more than what they are written in.
func TestWeightOfRecipients(t *testing.T) {
	const n = 100_000
	to := make([]string, n)
	for i := range to {
		to[i] = fmt.Sprintf("%x@b", i)
	}
	body, err := json.Marshal(map[string]any{"from": "app@example.com", "to": to, "text": "x"})
	if err != nil {
		t.Fatal(err)
	}
	before := inUse()
	made, _, _ := httpapi.Make(body, n)
	held := inUse() - before + int64(len(body))
	runtime.KeepAlive(made)
	runtime.KeepAlive(to)
	runtime.KeepAlive(body)
	if most := int64(len(body))*httpapi.Weight + n*httpapi.RecipientWeight; held > most {
		t.Errorf("%d octets, counted as %d", held, most)
	}
}

func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
