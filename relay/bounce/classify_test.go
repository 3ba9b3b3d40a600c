package bounce

import "testing"

// TestRulesAreRead finds rules that cannot be read.
func TestRulesAreRead(t *testing.T) {
	t.Parallel()
	if _, err := readBook(rulesText); err != nil {
		t.Fatal(err)
	}
}

// TestRulesWithFaults names the lines that are no rules.
func TestRulesWithFaults(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"spam : words", "[what]\n", "[hosts]\n", "[words]\nnonsense : words",
		"[words]\nspam 5.x.1", "[words]\nspam 650", "[words]\nspam : a", "[words]\nspam x.7.9-8",
	} {
		if _, err := readBook(text); err == nil {
			t.Errorf("%q is taken for rules", text)
		}
	}
}

func BenchmarkClassify(b *testing.B) {
	r := Reply{
		Code: 450, Enhanced: "4.7.1", Step: StepRcpt, Host: "mx.example.net [192.0.2.1]",
		Text: "Client host rejected: cannot find your hostname, [192.0.2.1]; please see the " +
			"page at https://example.net/ and try again",
	}
	b.ReportAllocs()
	for b.Loop() {
		Classify(r)
	}
}
