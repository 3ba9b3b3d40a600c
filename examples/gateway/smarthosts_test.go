package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/postern-mail/postern/examples/internal/mailtest"
)

// TestRecipesOfSmartHosts loads what docs/smarthosts.md shows.
func TestRecipesOfSmartHosts(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "smarthosts.md"))
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(sample(t), "[[send_connector]]")
	_, after, ok2 := strings.Cut(rest, "[retry]")
	if !ok || !ok2 {
		t.Fatal("the sample has no send connector")
	}
	recipes := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(recipes) < 9 {
		t.Fatalf("%d recipes", len(recipes))
	}
	for _, recipe := range recipes {
		config := site(t, before+recipe[1]+"[retry]"+after)
		for _, name := range []string{"secret.txt", "password.txt", "refresh.txt"} {
			mailtest.Write(t, filepath.Join(filepath.Dir(config), name), "secret\n")
		}
		cfg, _, found := load(config, newLasting(), slog.New(slog.DiscardHandler))
		if len(found) > 0 || len(cfg.SendConnectors) != 1 {
			t.Errorf("%v in\n%s", found, recipe[1])
		}
	}
}
