#!/usr/bin/env python3
"""Random purchases that change, go and come back, burns and corrections, under each clawback policy, and what every
balance must be after each of them: written from the documented semantics, never from the code.

    returns.py SEED STEPS [MISTAKE] > statements.sql

The statements print one line for each step after which the ledger says something else.  MISTAKE plants one in the model:
  life    a purchase that comes back has its points again in its own lot, whoever paid for the return
  chain   what comes back to a lot stays there, whoever paid for its return
  owed    what a return could not take is forgotten
  first   debts are repaid by the latest, not by the oldest
  release what becomes available while something is owed stays the member's
"""
import copy
import random
import sys
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from math import floor

seed, steps = int(sys.argv[1]), int(sys.argv[2])
mistake = sys.argv[3] if len(sys.argv) > 3 else None
rnd = random.Random(seed)
START = datetime(2024, 1, 1, tzinfo=timezone.utc)
NEVER = datetime(1, 1, 1, tzinfo=timezone.utc)
MEMBERS = (1, 2, 3)
DAY = timedelta(days=1)

# rule: kind of row it is for (None: all), rate, days until it dies and until it is available (None: the program's)
RULES = ((None, Fraction(37, 100), None, None), ('x', Fraction(111, 1000), 25, 6), ('y', Fraction(1, 2), 9, 0))
# program: policy, days
PROGRAMS = {'only': ('pending_only', 60, 4), 'zero': ('to_zero', 60, 0), 'owes': ('debt', 60, 0)}


class Lot:
    def __init__(self, number, expires, available, points):
        self.place = (expires, number)
        self.expires, self.available, self.left = expires, available, points
        self.owed = 0          # what a return could not take
        self.paid_by = []      # [lot, points, debt or None], in the order of what happened


class Part:
    """What a purchase earned at once: rounded once, in one or more lots."""
    def __init__(self, amount, units):
        self.amount = self.kept = amount
        self.units = units     # in the order of the rules: [unrounded, lot]

    def shares(self, kept):
        """points of each lot when so much of the amount is kept"""
        factor = 0 if kept is None else 1 if kept == self.amount else Fraction(kept) / self.amount
        sums, before, total = {}, 0, Fraction(0)
        for unit, lot in self.units:
            total += unit
            sums[lot] = sums.get(lot, 0) + floor(total * factor) - before
            before = floor(total * factor)
        return sums


class Account:
    def __init__(self, program, at):
        self.policy, self.days, self.pending_days = PROGRAMS[program]
        self.settled, self.lots, self.debts, self.bought, self.numbers = at, [], [], {}, 0

    # -- time
    def alive(self, pending=False):
        return sorted((l for l in self.lots if l.left and l.expires > self.settled and (l.available > self.settled) == pending), key=lambda l: l.place)

    def debt(self):
        return sum(d[1] for d in self.debts)

    def figures(self):
        return (sum(l.left for l in self.alive()), sum(l.left for l in self.alive(True)), self.debt(), sum(l.owed for l in self.lots))

    def at(self, at):
        """as it is then, without having been touched"""
        then = copy.deepcopy(self) if self.debt() and at > self.settled else copy.copy(self)
        then.settle(at)
        return then

    def settle(self, at):
        while self.debt() and at > self.settled and mistake != 'release':
            releases = [l.available for l in self.lots if l.left and self.settled < l.available <= at and l.available < l.expires]
            if not releases:
                break
            self.settled = min(releases)
            self.repay()
        self.settled = max(self.settled, at)

    # -- points
    def lot(self, expires, available, points):
        self.numbers += 1
        lot = Lot(self.numbers, expires if points else NEVER, available, points)
        self.lots.append(lot)
        return lot

    def repay(self):
        for lot in self.alive():
            for debt in (reversed(self.debts) if mistake == 'first' else self.debts):
                part = min(lot.left, debt[1])
                if part:
                    lot.left -= part
                    debt[1] -= part
                    debt[0].paid_by.append([lot, part, debt])

    def burn(self, points):
        if self.debt() or sum(l.left for l in self.alive()) < points:
            return False
        for lot in self.alive():
            part = min(lot.left, points)
            lot.left -= part
            points -= part
        return True

    def give(self, points):
        self.lot(self.settled + self.days * DAY, self.settled, points)
        self.repay()

    # -- purchases
    def award(self, purchase, amount, kind, total, occurred):
        stored = [Fraction(0)] * len(RULES)
        for part in purchase:
            for i, unit in part.rules:
                stored[i] += unit
        units, lives, rules = [], {}, []
        before, sum_ = 0, Fraction(0)
        for i, (only, rate, days, pending) in enumerate(RULES):
            if only in (None, kind):
                unit = max(Fraction(0), total * rate - stored[i])
                sum_ += unit
                days, pending = self.days if days is None else days, self.pending_days if pending is None else pending
                lives.setdefault((occurred + days * DAY, occurred + pending * DAY if pending else NEVER), []).append((unit, floor(sum_) - before))
                before = floor(sum_)
                units.append((unit, (occurred + days * DAY, occurred + pending * DAY if pending else NEVER)))
                rules.append((i, unit))
        lots = {life: self.lot(life[0], life[1], sum(p for _, p in shares)) for life, shares in lives.items()}
        part = Part(amount, [(unit, lots[life]) for unit, life in units])
        part.rules = rules
        purchase.append(part)
        self.repay()

    def purchase(self, now, key, counts, amount, kind, occurred):
        """the row as it is now; counts is False when it is gone"""
        purchase = self.bought.setdefault(key, [])
        left = amount if counts else Fraction(0)
        for part in purchase:
            kept = min(left, part.amount)
            if part.amount == 0 and not counts:
                kept = None
            if kept != part.kept:
                self.settle(now)
                self.keep(part, kept)
            left -= kept or 0
        if counts and (left > 0 or not purchase):
            self.settle(max(self.settled, min(now, occurred)))
            self.award(purchase, left, kind, amount, occurred)

    def keep(self, part, kept):
        before, after = part.shares(part.kept), part.shares(kept)
        part.kept = kept
        due = {}
        for lot in before:
            due[lot] = max(0, before[lot] - after[lot])
            if after[lot] > before[lot]:
                self.give_back(lot, after[lot] - before[lot])
        own = sorted(due, key=lambda l: l.place)
        pending = [l for l in own if l.expires > self.settled and l.available > self.settled]
        ready = [l for l in own if l.expires > self.settled and l.available <= self.settled]
        dead = [l for l in own if l.expires <= self.settled]
        for payer in pending + (ready if self.policy != 'pending_only' else []) + dead:
            for lot in [payer] + own:
                self.take(payer, lot, due)
        for lot in own:
            if self.policy != 'pending_only':
                for payer in self.alive():
                    self.take(payer, lot, due)
            if due[lot] and self.policy == 'debt':
                self.debts.append([lot, due[lot], due[lot]])
            elif mistake != 'owed':
                lot.owed += due[lot]
        self.repay()

    def take(self, payer, lot, due):
        part = min(payer.left, due[lot])
        payer.left -= part
        due[lot] -= part
        if part and payer is not lot:
            lot.paid_by.append([payer, part, None])

    def give_back(self, lot, points):
        part = min(lot.owed, points)
        lot.owed -= part
        points -= part
        for debt in reversed(self.debts):
            if debt[0] is lot:
                part = min(debt[1], points)
                debt[1] -= part
                points -= part
        while points and lot.paid_by and mistake != 'life':
            payer, paid, debt = payment = lot.paid_by[-1]
            part = min(paid, points)
            points -= part
            payment[1] -= part
            if not payment[1]:
                lot.paid_by.pop()
            self.come_back(payer, part)
        lot.left += points

    def come_back(self, lot, points):
        """what comes back to a lot pays what was returned of it: what it owes, what is left of its debts, then who paid
        in its place, the last first"""
        owed = min(lot.owed, points) if self.policy != 'pending_only' else 0
        lot.owed -= owed
        points -= owed
        for debt in self.debts:
            if debt[0] is lot:
                part = min(debt[1], points)
                debt[1] -= part
                points -= part
        while points and lot.paid_by and mistake != 'chain':
            payer, paid, debt = payment = lot.paid_by[-1]
            part = min(paid, points)
            points -= part
            payment[1] -= part
            if not payment[1]:
                lot.paid_by.pop()
            self.come_back(payer, part)
        lot.left += points


# ---- statements ----

rows = {}                      # id: [member, total, ok, kind, at]
accounts = {}
now = START
out = []


def account(program, member, at):
    return accounts.setdefault((program, member), Account(program, at))


def instant(at):
    return at.strftime('%Y-%m-%d %H:%M:%S+00')


def settle_all():
    out.append('SELECT settle_all();')
    for a in accounts.values():
        a.settle(now)


def worked(changes):
    """(member, key, counts, total, kind, at) in the order of a statement's pass"""
    for program in PROGRAMS:
        for member, key, counts, total, kind, at in sorted(changes, key=lambda c: c[0]):
            if counts or (program, member) in accounts:
                first = min([now] + [c[5] for c in changes if c[0] == member and c[2]])
                account(program, member, first).purchase(now, key, counts, total, kind, at)


def write(ids):
    """insert or update these rows, one statement"""
    values, changes = [], []
    for i in ids:
        old = rows.get(i)
        new = list(old) if old else [rnd.choice(MEMBERS), None, True, rnd.choice(('x', 'y', 'n')), None]
        what = rnd.random()
        if old is None:
            new[1] = Fraction(rnd.choice((0, rnd.randint(1, 9000), rnd.randint(1, 90000))), 100)
            new[4] = now if rnd.random() < 0.8 else now - rnd.randint(0, 40 * 24) * timedelta(hours=1)
            new[2] = rnd.random() < 0.9
        elif what < 0.4:
            new[1] = Fraction(floor(old[1] * rnd.randint(0, 100)), 100)
        elif what < 0.55:
            new[1] = old[1] + Fraction(rnd.randint(0, 5000), 100)
        elif what < 0.85:
            new[2] = not old[2]
        elif what < 0.93:
            new[0] = rnd.choice(MEMBERS)
        else:
            new[3] = rnd.choice(('x', 'y', 'n'))
        rows[i] = new
        if old and old[0] != new[0]:
            changes.append((old[0], i, False, Fraction(0), None, None))
        changes.append((new[0], i, new[2], new[1], new[3], new[4]))
        values.append("(%d, %d, %s, %s, '%s', '%s')" % (i, new[0], float(new[1]), new[2], new[3], instant(new[4])))
    if any(rows[i][4] < now for i in ids):
        settle_all()           # a late row is worked at the account's own instant
    out.append('INSERT INTO sale AS s VALUES ' + ', '.join(values) + ' ON CONFLICT (id) DO UPDATE SET'
               ' who = EXCLUDED.who, total = EXCLUDED.total, ok = EXCLUDED.ok, kind = EXCLUDED.kind, at = EXCLUDED.at;')
    worked(changes)


def delete(i):
    member = rows.pop(i)[0]
    gone[i] = member
    out.append('DELETE FROM sale WHERE id = %d;' % i)
    worked([(member, i, False, Fraction(0), None, None)])


def call():
    program, member = rnd.choice(list(accounts))
    a = accounts[program, member]
    a.settle(now)
    has = a.figures()[0]
    points = has if has and rnd.random() < 0.4 else rnd.randint(1, max(20, has + 5))
    if rnd.random() < 0.75:
        out.append("SELECT tried('SELECT FROM loyalty.redeem(%d, points => %d, program => ''%s'')', %s);" % (member, points, program, a.burn(points)))
    elif rnd.random() < 0.5:
        out.append("SELECT tried('SELECT FROM loyalty.adjust(%d, %d, ''test'', program => ''%s'')', %s);" % (member, -points, program, a.burn(points)))
    else:
        out.append("SELECT tried('SELECT FROM loyalty.adjust(%d, %d, ''test'', program => ''%s'')', true);" % (member, points, program))
        a.give(points)


def state(program, member):
    """which points are alive, and what is left of which debt"""
    a = accounts[program, member]
    a.settle(now)
    return '%s %d:%s;%s' % (program, member, ''.join(' %d until %s' % (l.left, instant(l.expires)) for l in sorted(a.lots, key=lambda l: l.place) if l.left and l.expires > now),
                            ''.join(' %d of %d' % (d[1], d[2]) for d in a.debts if d[1]))


def check(n):
    """every account as it is now"""
    expected = []
    for (program, member), a in sorted(accounts.items()):
        figures = a.at(now).figures()
        expected.append('%s %d: %d %d %d %d' % ((program, member) + figures))
        if figures[0] and figures[2] and mistake != 'release':
            sys.exit('the model is wrong: something is available beside a debt')
    out.append("SELECT wrong(%d, '%s', '%s');" % (n, ', '.join(expected), ', '.join(state(*k) for k in sorted(accounts)) if n % 5 == 0 else ''))


gone = {}
out.append('''\\set ON_ERROR_STOP on
SET client_min_messages = warning;
SET TimeZone = 'UTC';
CREATE EXTENSION loyalty;
DO $$ BEGIN PERFORM loyalty.install(); END $$;
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, ok boolean, kind text, at timestamptz);''')
for name, (policy, days, pending) in PROGRAMS.items():
    out.append("INSERT INTO loyalty.program (name, clawback, expiry, pending, sandbox) VALUES ('%s', '%s', '%d days', '%d days', true);" % (name, policy, days, pending))
    out.append("DO $$ BEGIN PERFORM loyalty.attach('sale', program => '%s', member => 'who', amount => 'total', occurred_at => 'at', condition => 'ok'); END $$;" % name)
    for n, (kind, rate, days, pending) in enumerate(RULES):
        out.append("INSERT INTO loyalty.rule (program, source, name, points, condition, expiry, pending) VALUES ('%s', 'sale', 'rule %d', 'earn.amount * %s', %s, %s, %s);"
                   % (name, n, float(rate), "'kind = ''%s'''" % kind if kind else 'NULL', "'%d days'" % days if days is not None else 'NULL', "'%d days'" % pending if pending is not None else 'NULL'))
out.append('''
CREATE FUNCTION tried(command text, good boolean) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE command;
  IF NOT good THEN RETURN NEXT format('%s should have been refused', command); END IF;
EXCEPTION WHEN SQLSTATE 'LY001' THEN
  IF good THEN RETURN NEXT format('%s: %s', command, SQLERRM); END IF;
END $$;
CREATE FUNCTION instant(at timestamptz) RETURNS text LANGUAGE sql AS $$ SELECT to_char(at, 'YYYY-MM-DD HH24:MI:SS+00') $$;
CREATE FUNCTION settle_all() RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM loyalty.block(a.member_id, p.name), loyalty.unblock(a.member_id, p.name) FROM loyalty.account a JOIN loyalty.program p ON p.id = a.program_id;
END $$;
CREATE FUNCTION wrong(step int, expected text, state text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  found_ones text;
BEGIN
  IF state <> '' THEN
    PERFORM settle_all();
    SELECT string_agg(format('%s %s:%s;%s', p.name, a.member_id,
        (SELECT string_agg(format(' %s until %s', trim_scale(l.remaining * 0.0001), instant(l.expires_at)), '' ORDER BY l.expires_at, l.entry_no) FROM loyalty.lot l
         WHERE l.member_id = a.member_id AND l.program_id = a.program_id AND l.remaining > 0 AND l.expires_at > loyalty.instant()),
        (SELECT string_agg(format(' %s of %s', trim_scale(d.left_over * 0.0001), trim_scale(d.amount * 0.0001)), '' ORDER BY d.entry_no) FROM loyalty.debt d
         WHERE d.member_id = a.member_id AND d.program_id = a.program_id AND d.left_over > 0)), ', ' ORDER BY p.name, a.member_id)
      INTO found_ones
    FROM loyalty.account a JOIN loyalty.program p ON p.id = a.program_id;
    IF found_ones <> state THEN RETURN NEXT format(E'step %s\\n  expected %s\\n  found    %s', step, state, found_ones); END IF;
  END IF;
  SELECT string_agg(format('%s %s: %s %s %s %s', p.name, a.member_id, b.available, b.pending, b.debt,
      trim_scale(coalesce((SELECT sum(l.owed) * 0.0001 FROM loyalty.lot l WHERE l.member_id = a.member_id AND l.program_id = a.program_id), 0))), ', ' ORDER BY p.name, a.member_id)
    INTO found_ones
  FROM loyalty.account a JOIN loyalty.program p ON p.id = a.program_id CROSS JOIN LATERAL loyalty.balance(a.member_id, p.name) b;
  IF found_ones <> expected THEN RETURN NEXT format(E'step %s\\n  expected %s\\n  found    %s', step, expected, found_ones); END IF;
  IF step % 50 = 0 THEN RETURN QUERY SELECT format('step %s: %s', step, v) FROM loyalty.verify() v; END IF;
END $$;''')
next_id = 1
for n in range(1, steps + 1):
    now += timedelta(hours=rnd.choice((0, 0, 1, 5, 24, 24 * 4)))
    out.append("SET loyalty.now = '%s';" % instant(now))
    r = rnd.random()
    if r < 0.3 or not accounts or not rows:
        ids = list(range(next_id, next_id + rnd.choice((1, 1, 1, 3, 6))))
        next_id += len(ids)
        write(ids)
    elif r < 0.65:
        recent = sorted(rows)[-25:]
        write(rnd.sample(recent, min(len(recent), rnd.choice((1, 1, 2, 5)))))
    elif r < 0.7:
        delete(rnd.choice(sorted(rows)[-25:]))
    elif r < 0.75 and gone:
        i = rnd.choice(sorted(gone))
        del gone[i]
        write([i])
    elif r < 0.78:
        out.append('CALL loyalty.run_maintenance();')
    else:
        call()
    check(n)
out.append('CALL loyalty.run_maintenance();')
check(steps - steps % 50 + 50)
print('\n'.join(out))
