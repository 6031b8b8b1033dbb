package ratelimit

import (
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Limit{
		"30/1m": {30, time.Minute}, "1/1s": {1, time.Second}, "5/24h": {5, 24 * time.Hour},
		"": {}, "30": {}, "0/1m": {}, "-1/1m": {}, "30/0s": {}, "30/1": {}, "x/1m": {}, "2000000/1m": {}, "1/25h": {},
	} {
		got, err := Parse(text)
		if got != want || (err == nil) != (want != Limit{}) {
			t.Errorf("Parse(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestABurstThenAnEvenRate(t *testing.T) {
	var l Limiter[string]
	limit := Limit{3, 3 * time.Second}
	now := time.Unix(1_000_000, 0)
	for i := range 3 {
		if wait := l.Take("a", limit, now); wait != 0 {
			t.Fatalf("event %d of the burst has to wait %v", i, wait)
		}
	}
	if wait := l.Take("a", limit, now); wait != time.Second {
		t.Fatalf("the event after the burst waits %v, want 1s", wait)
	}
	if wait := l.Take("b", limit, now); wait != 0 {
		t.Fatalf("another key waits %v", wait)
	}
	now = now.Add(time.Second)
	if wait := l.Take("a", limit, now); wait != 0 {
		t.Fatalf("after the wait it still has to wait %v", wait)
	}
	if wait := l.Take("a", limit, now); wait != time.Second {
		t.Fatalf("one more waits %v, want 1s", wait)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	var l Limiter[int]
	for i := range 3 * maxKeys {
		l.Take(i, Limit{1, time.Hour}, time.Unix(1_000_000, 0))
	}
	if len(l.next) > maxKeys {
		t.Fatalf("%d keys are remembered, at most %d are wanted", len(l.next), maxKeys)
	}
}

func TestTheZeroLimitAllowsEverything(t *testing.T) {
	var l Limiter[int]
	for range 100 {
		if wait := l.Take(1, Limit{}, time.Time{}); wait != 0 {
			t.Fatal("it waits")
		}
	}
}
