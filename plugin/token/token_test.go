package token

import (
	"encoding/json"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns-ddns/ddns/plugin/zone"
)

var shape = regexp.MustCompile(`^ddns_[0-9A-Za-z]{6}_[0-9A-Za-z]{28}$`)

func TestMintedTokensParse(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		text, s := Mint()
		if !shape.MatchString(text) || len(text) != 40 {
			t.Fatalf("%d characters, want 40 of the documented shape", len(text))
		}
		got, err := Parse(text)
		if err != nil || got != s || seen[text] {
			t.Fatalf("a minted token does not come back, or came twice: %v", err)
		}
		seen[text] = true
	}
}

func TestAMistypedTokenIsMalformed(t *testing.T) {
	text, _ := Mint()
	for i := range len(text) {
		typo := text[:i] + "#" + text[i+1:]
		if _, err := Parse(typo); err == nil {
			t.Errorf("a wrong character at %d passes", i)
		}
		if c := text[i+1:]; c != "" && text[i] != c[0] {
			swapped := text[:i] + c[:1] + text[i:i+1] + c[1:]
			if _, err := Parse(swapped); err == nil {
				t.Errorf("swapped characters at %d pass", i)
			}
		}
	}
	for _, bad := range []string{"", "ddns_", text + "x", text[1:], strings.ToUpper(text), " " + text} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%d characters pass", len(bad))
		} else if strings.Contains(err.Error(), text[20:30]) {
			t.Error("the error quotes the token")
		}
	}
}

func FuzzParse(f *testing.F) {
	text, _ := Mint()
	f.Add(text)
	f.Add("ddns_aaaaaa_" + strings.Repeat("b", 28))
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if (err == nil) != (len(s.ID) == 6) {
			t.Fatalf("%q: %v, ID %q", text, err, s.ID)
		}
		if err == nil && !shape.MatchString(text) {
			t.Fatalf("%q is no token", text)
		}
	})
}

func TestVerify(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	_, old := Mint()
	_, fresh := MintFor(old.ID)
	_, other := MintFor(old.ID)
	tok := &Token{ID: old.ID, Hash: fresh.Hash, Previous: old.Hash, Until: now.Add(time.Hour)}
	expired := &Token{ID: old.ID, Hash: fresh.Hash, Grant: Grant{Expires: now}}
	for name, c := range map[string]struct {
		token *Token
		shown Secret
		at    time.Time
		want  bool
	}{
		"the secret":                         {tok, fresh, now, true},
		"another secret":                     {tok, other, now, false},
		"the previous one in the overlap":    {tok, old, now.Add(time.Hour - 1), true},
		"the previous one at its end":        {tok, old, now.Add(time.Hour), false},
		"an expired token":                   {expired, fresh, now, false},
		"the same a moment before":           {expired, fresh, now.Add(-1), true},
		"no such token":                      {nil, fresh, now, false},
		"the hash of nothing, without token": {nil, Secret{}, now, false},
		"no previous secret is no secret":    {expired, Secret{}, now.Add(-1), false},
	} {
		if got := c.token.Verify(c.shown, c.at); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestGrantsCoverNamesAndNothingBeside(t *testing.T) {
	g := Grant{Names: []Pattern{"home.dyn.example.org.", "*.lab.dyn.example.org."}}
	for name, want := range map[zone.Name][2]bool{
		"home.dyn.example.org.":      {true, true},
		"a.home.dyn.example.org.":    {false, false},
		"evilhome.dyn.example.org.":  {false, false},
		"lab.dyn.example.org.":       {false, false},
		"a.lab.dyn.example.org.":     {true, false},
		"a.b.lab.dyn.example.org.":   {true, false},
		"*.lab.dyn.example.org.":     {true, false},
		"evillab.dyn.example.org.":   {false, false},
		"a.evillab.dyn.example.org.": {false, false},
		"dyn.example.org.":           {false, false},
	} {
		if covered, literal := g.Covers(name); covered != want[0] || literal != want[1] {
			t.Errorf("%s: covered %v, literal %v", name, covered, literal)
		}
	}
}

func TestDistinctDropsWhatOthersCover(t *testing.T) {
	got := Distinct([]Pattern{"a.x.org.", "*.x.org.", "x.org.", "*.b.x.org.", "*.x.org.", "y.org.", "y.org."})
	want := []Pattern{"*.x.org.", "x.org.", "y.org."}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestTokensSurviveTheirJSON(t *testing.T) {
	_, s := Mint()
	now := time.Unix(1_800_000_000, 0).UTC()
	for _, tok := range []Token{
		{Revision: 3, Hash: s.Hash, Created: now, Grant: Grant{Names: []Pattern{"home.dyn.example.org."}}},
		{Hash: s.Hash, Previous: s.Hash, Until: now, Created: now, Note: "the garage", Grant: Grant{
			Names: []Pattern{"*.dyn.example.org."}, Types: []string{"A"}, Quota: 5, Expires: now,
			Sources: []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")},
		}},
	} {
		text, err := json.Marshal(tok)
		if err != nil {
			t.Fatal(err)
		}
		var got Token
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		again, _ := json.Marshal(got)
		if string(again) != string(text) || got.Hash != tok.Hash || got.Previous != tok.Previous {
			t.Errorf("%s comes back as %s", text, again)
		}
	}
}

func TestRedactLeavesTheIDOnly(t *testing.T) {
	text, s := Mint()
	got := Redact("a " + text + " b " + text + " c ddns_x")
	if strings.Contains(got, text[12:]) || strings.Count(got, string(s.ID)) != 2 || !strings.Contains(got, " b ") {
		t.Errorf("%q", got)
	}
}
