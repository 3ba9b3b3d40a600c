package spool_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/postern-mail/postern/relay/spool"
)

func TestWordsAsText(t *testing.T) {
	t.Parallel()
	type all struct {
		Return spool.Return
		Body   spool.Body
	}
	for text, want := range map[string]all{
		`{"Return":"hdrs","Body":"8BITMIME"}`: {spool.ReturnHeaders, spool.Body8BitMIME},
		`{"Return":"FULL","Body":""}`:         {spool.ReturnFull, ""},
	} {
		var got all
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s became %+v, %v", text, got, err)
		}
		b, err := json.Marshal(got)
		var again all
		if err != nil || json.Unmarshal(b, &again) != nil || again != want {
			t.Errorf("%+v became %s, %v", got, b, err)
		}
	}
	for _, text := range []string{`{"Return":"ALL"}`, `{"Body":"9BIT"}`} {
		var got all
		if err := json.Unmarshal([]byte(text), &got); err == nil || got != (all{}) {
			t.Errorf("%s was taken: %+v", text, got)
		}
	}
	if _, err := json.Marshal(all{Return: "x"}); err == nil {
		t.Error("an unknown word was written")
	}
}

func ExampleBody() {
	var b spool.Body
	err := b.UnmarshalText([]byte("8bitmime"))
	fmt.Println(b == spool.Body8BitMIME, err)
	fmt.Println(b.UnmarshalText([]byte("9bit")))
	// Output:
	// true <nil>
	// spool: unknown word "9bit"
}

func ExampleReturn() {
	var r spool.Return
	err := r.UnmarshalText([]byte("hdrs"))
	fmt.Println(r == spool.ReturnHeaders, err)
	// Output: true <nil>
}
