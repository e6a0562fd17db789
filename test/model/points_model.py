"""A loyalty program computed a second time, in other words and another language: the other side of random_operations.py.
Where the documentation leaves a choice (reviewing and prolonging tiers, which lot of an award pays first, who is paid
by what comes back) it follows the engine's choice: there it shows that stores and histories agree, not that the choice
is right.  Everything is an integer: money in 1/100, points in 1/10,000, results of rules in 1/100,000,000, time in
microseconds since 1970.  An instant without end is FOREVER or NEVER.

Where the documents are silent, the model says here what it takes for granted:
- A row that lies ahead of the statement counts in the period in which it came.
- A row that has not earned yet (its account was blocked, nobody was enrolled) earns when what matters of it is next
  changed.
- A tier rests on the period whose figures gave it last; one without end on every period whose figures gave it.
  Where nothing is ever lost, what the figures of a period gave stays when they are not kept any more.
  When a return takes what that period gave, the tier is what the running and the last period still give.
"""
from bisect import insort
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

FOREVER = 1 << 62
NEVER = -FOREVER
EPOCH = datetime(1970, 1, 1)
EPOCH_UTC = datetime(1970, 1, 1, tzinfo=timezone.utc)
SECOND = 1_000_000
DAY = 86400 * SECOND
HOLD = 900 * SECOND             # when a call does not say how long
MISTAKES = {                    # controls: a model that is wrong about one thing is found out
    'life': 'points live a microsecond too long',
    'returns': 'a purchase keeps what it earned for an amount that is returned to the last unit, where that is 0'}
MISTAKE = None
POINT = 10_000                  # of the ledger's units
UNIT = 100_000_000              # of a rule's units in a point
BACK = 1_000_000_000            # rows numbered from here on are those of the table of returns


class Refused(Exception):
    """A call that must be refused, with its SQLSTATE."""


# ---- calendar ----

class Zone:
    def __init__(self, name):
        self.name = name
        self.info = ZoneInfo(name)
        self.cache = {}

    def local(self, instant):
        """The wall time, without zone."""
        aware = EPOCH_UTC + timedelta(microseconds=instant)
        return aware.astimezone(self.info).replace(tzinfo=None)

    def instant(self, local):
        """Of a wall time that is missing the one as far behind the gap; of one that comes twice the second."""
        known = self.cache.get(local)
        if known is None:
            both = [local.replace(tzinfo=self.info, fold=fold).astimezone(timezone.utc) for fold in (0, 1)]
            known = self.cache[local] = (max(both) - EPOCH_UTC) // timedelta(microseconds=1)
        return known


def add_months(local, months):
    """The same wall time so many months later; the last day where that month has no such day."""
    number = local.year * 12 + local.month - 1 + months
    year, month = number // 12, number % 12 + 1
    day = local.day
    while True:
        try:
            return local.replace(year=year, month=month, day=day)
        except ValueError:
            day -= 1


class Interval:
    """months, days and time, as PostgreSQL keeps them."""

    def __init__(self, text, months=0, days=0, time=0):
        self.text, self.months, self.days, self.time = text, months, days, time

    def __bool__(self):
        return bool(self.months or self.days or self.time)

    def after(self, instant, zone):
        if abs(instant) == FOREVER:
            return instant
        if self.months or self.days:
            local = add_months(zone.local(instant), self.months) + timedelta(days=self.days)
            instant = zone.instant(local)
        return instant + self.time


def midnight(local):
    return local.replace(hour=0, minute=0, second=0, microsecond=0)


class Expiry:
    def __init__(self, text, months=0, days=0, end_of=None, every=None):
        self.text, self.months, self.days, self.end_of, self.every = text, months, days, end_of, every

    def first_dead(self, instant, zone):
        if self.text == 'never':
            return FOREVER
        local = zone.local(instant)
        if self.every:
            month, day = self.every
            dead = datetime(local.year, month, day) + timedelta(days=1)
            return zone.instant(dead if local < dead else datetime(local.year + 1, month, day) + timedelta(days=1))
        local = add_months(local, self.months) + timedelta(days=self.days)
        if self.end_of == 'day':
            local = midnight(local) + timedelta(days=1)
        elif self.end_of:
            size = {'month': 1, 'quarter': 3, 'year': 12}[self.end_of]
            first = midnight(local).replace(day=1, month=(local.month - 1) // size * size + 1)
            local = add_months(first, size)
        return zone.instant(local)


class Period:
    def __init__(self, text):
        self.text = text
        self.cache = {}

    def bounds(self, instant, zone, enrolled_at):
        """Half-open."""
        if self.text == 'lifetime':
            return NEVER, FOREVER
        first = midnight(zone.local(instant))
        word = self.text.split()[-1]
        if self.text == 'day':
            last = first + timedelta(days=1)
        elif self.text == 'week':
            first -= timedelta(days=first.weekday())
            last = first + timedelta(days=7)
        elif self.text == 'membership year':
            return self.membership_year(instant, zone, enrolled_at)
        elif self.text == 'year from 1 march':
            first = first.replace(day=1, month=3, year=first.year - (first.month < 3))
            last = add_months(first, 12)
        else:
            size = {'month': 1, 'quarter': 3, 'year': 12}[word]
            first = first.replace(day=1, month=(first.month - 1) // size * size + 1)
            last = add_months(first, size)
        return zone.instant(first), zone.instant(last)

    @staticmethod
    def membership_year(instant, zone, enrolled_at):
        began = midnight(zone.local(enrolled_at))
        years = zone.local(instant).year - began.year
        while zone.instant(add_months(began, 12 * years)) > instant:
            years -= 1
        while zone.instant(add_months(began, 12 * (years + 1))) <= instant:
            years += 1
        return tuple(zone.instant(add_months(began, 12 * (years + more))) for more in (0, 1))


# ---- points ----

def rounded(numerator, denominator, mode, step):
    """numerator / denominator, not negative, as a whole number of steps; exact."""
    denominator *= step
    whole, rest = divmod(numerator, denominator)
    if mode == 'up':
        whole += rest > 0
    elif mode == 'half_up':
        whole += 2 * rest >= denominator
    elif mode == 'half_even':
        whole += 2 * rest > denominator or (2 * rest == denominator and whole % 2 == 1)
    return whole * step


class Rule:
    """points(cents, base, kind) gives units, exact before they are cut to 1/100,000,000: (numerator, denominator)."""

    def __init__(self, name, bonus, sql, points, kinds=None, priority=0, group=None, expiry=None, pending=None):
        self.name, self.bonus, self.sql, self.points, self.kinds = name, bonus, sql, points, kinds
        self.priority, self.group, self.expiry, self.pending = priority, group, expiry, pending


class Program:
    """Settings; see random_operations.py for their values.  tiers: (name, threshold in cents or points' units, bonus
    in 1/10,000), lowest first.  rules: in the order of their making."""

    def __init__(self, **settings):
        self.__dict__.update(settings)
        self.step = POINT // 10 ** self.decimals
        # base, bonus; inside of them by priority, then id
        self.order = sorted(self.rules, key=lambda rule: (rule.bonus, -rule.priority))

    def tier_for(self, spend, earned):
        reached = spend if self.tier_metric == 'spend' else earned
        return max((i for i, (_, threshold, _) in enumerate(self.tiers) if reached >= threshold), default=-1)


class Share:
    __slots__ = ('name', 'units', 'lot')

    def __init__(self, name, units, lot):
        self.name, self.units, self.lot = name, units, lot


class Lot:
    __slots__ = ('no', 'key', 'earned_at', 'available_at', 'expires_at', 'at', 'points', 'remaining', 'owed', 'moves',
                 'award', 'dead', 'open', 'payments')

    def __init__(self, **columns):
        self.remaining = self.owed = 0
        self.moves = defaultdict(int)
        self.payments = []                      # [who paid for this lot's share, points, the debt it repaid or None]
        self.award = None
        self.dead = False
        self.open = False
        for name, value in columns.items():
            setattr(self, name, value)

    def __lt__(self, other):
        return (self.expires_at, self.no) < (other.expires_at, other.no)


class Debt:
    __slots__ = ('lot', 'amount', 'left')

    def __init__(self, lot, amount):
        self.lot, self.amount, self.left = lot, amount, amount


class Redemption:
    """taken: [lot, points], in the order of taking; of points so many are held or spent still."""
    __slots__ = ('points', 'taken', 'state', 'key', 'at', 'until')

    def __init__(self, points, state, key, at, until):
        self.points, self.state, self.key, self.at, self.until, self.taken = points, state, key, at, until, []

    def left(self):
        return sum(part for _, part in self.taken)


class Award:
    """What a purchase has earned at once: its shares, in order, and the lots they lie in."""
    __slots__ = ('amount', 'kept', 'shares', 'lots', 'counted_at', 'mode', 'step')

    def kept_points(self, kept):
        """How many points of each lot are kept; kept is None where a purchase of no amount has gone."""
        points = [0] * len(self.lots)
        if kept is None or (kept == 0 and self.amount > 0):
            return points
        numerator, denominator = (kept, self.amount) if self.amount else (1, 1)
        total = former = 0
        for share in self.shares:
            total += share.units
            now = rounded(total * numerator * POINT, denominator * UNIT, self.mode, self.step)
            points[share.lot] += now - former
            former = now
        return points


class Account:
    def __init__(self, program, member, at):
        self.program, self.member = program, member
        self.enrolled_at = self.settled_at = at
        self.status = 'active'
        self.lots = []                          # all, in order of their making
        self.live = []                          # those with something alive in them, in burn order
        self.spend = defaultdict(int)           # by first instant of a period
        self.earned = defaultdict(int)
        self.debts = []                         # oldest first
        self.redemptions = []
        self.requests = {}                      # key -> (call, arguments, answer)
        self.changes = []                       # of tier: (at, from, to, held until, reason)
        self.tier = self.lowest = program.tier_for(0, 0)
        self.tier_until = FOREVER
        self.rests_on = None                    # first instant of the period that gave the tier
        self.kept = -1                          # where nothing is ever lost: what figures gave that are not kept any more
        self.period = self.period_of(at)

    # -- periods and tiers

    def turn(self, instant):
        """To the period that holds this instant; what the figures that go gave is never lost where nothing is."""
        starts = {self.period[0]} | ({self.last_period()[0]} if self.period[0] != NEVER else set())
        self.period = self.period_of(instant)
        if self.program.downgrade == 'never':
            gone = starts - {self.period[0]} - ({self.last_period()[0]} if self.period[0] != NEVER else set())
            self.kept = max([self.kept] + [self.tier_by(start) for start in gone])

    def period_of(self, instant):
        program = self.program
        return program.tier_period.bounds(instant, program.zone, self.enrolled_at)

    def last_period(self):
        return self.period_of(self.period[0] - 1) if self.period[0] != NEVER else (NEVER, NEVER)

    def tier_by(self, start):
        return self.program.tier_for(self.spend.get(start, 0), self.earned.get(start, 0))

    def tier_by_last(self):
        return self.tier_by(self.last_period()[0]) if self.period[0] != NEVER else self.lowest

    def held_until(self, tier, end, at):
        program = self.program
        if program.downgrade == 'never' or tier <= self.lowest:
            return FOREVER
        end = at if end == FOREVER else end
        return program.grace.after(program.tier_validity.after(end, program.zone), program.zone)

    def set_tier(self, tier, until, at, reason, rests_on):
        if tier != self.tier:
            self.changes.append((at, self.tier, tier, until, reason))
        self.tier, self.tier_until, self.rests_on = tier, until, rests_on

    def review(self):
        """The tier's time is over: what do the figures still give?"""
        at = self.tier_until
        self.turn(at)
        tier = min(max(self.tier_by(self.period[0]), self.tier_by_last(), self.kept), self.tier)
        if self.program.downgrade == 'one_level':
            tier = max(tier, self.tier - 1)
        self.stand(tier, at, 'downgrade')

    def count(self, counted_at, cents, points, at):
        """A purchase, a return or an adjustment: counters of its own period, and what they do to the tier."""
        start, end = self.period_of(counted_at)
        former = self.tier_by(start)
        self.spend[start] += cents
        self.earned[start] += points
        if start != self.period[0] and (self.period[0] == NEVER or start != self.last_period()[0]):
            return                              # too long ago to give or take a tier
        if cents > 0 or points > 0:
            tier = self.tier_by(start)
            until = self.held_until(tier, end, at)
            if tier < 0 or until <= at:
                return
            if tier > self.tier:
                self.set_tier(tier, until, at, 'promotion', start)
            elif tier == self.tier and until >= self.tier_until:
                self.set_tier(tier, until, at, 'renewal', start)
        elif cents < 0 or points < 0:
            self.fall(start, former, at)

    def fall(self, start, former, at):
        """A return in the period that begins so, whose figures gave `former` before."""
        program = self.program
        if program.on_return == 'keep' or not self.tier_by(start) < self.tier <= former:
            return
        if self.tier_until != FOREVER and self.rests_on != start:
            return
        running, last = self.tier_by(self.period[0]), self.tier_by_last()
        tier = min(max(running, last, self.kept), self.tier)
        if program.on_return == 'grace' and tier < self.tier:
            self.tier_until = min(self.tier_until, program.grace.after(at, program.zone))
        else:
            self.stand(tier, at, 'return')

    def stand(self, tier, at, reason):
        """On what the running or the last period gives; by the last one for the running one at least."""
        start, end = self.period if tier <= self.tier_by(self.period[0]) or self.period[0] == NEVER else self.last_period()
        until = self.held_until(tier, end, at)
        self.set_tier(tier, until if until > at else self.period[1], at, reason, start)

    # -- time

    def settle(self, at, undo=None):
        """Bring the account to an instant.  undo: a list that takes what put_back() needs."""
        if at <= self.settled_at:
            return self.settled_at
        if undo is not None:
            undo.append(self.picture())
        while True:
            # holds lapse, and what becomes available pays debts, each at its own instant and in the order of time
            hold = min((hold for hold in self.holds()), key=lambda hold: hold.until, default=None)
            release = FOREVER
            if self.debt():
                release = min((lot.available_at for lot in self.live if self.settled_at < lot.available_at < lot.expires_at), default=FOREVER)
            event = min(release, hold.until if hold else FOREVER)
            if event > at:
                break
            self.bury(event)
            self.settled_at = event
            if hold and hold.until == event:
                self.release(hold)
            self.pay_debts()
        self.bury(at)
        while self.tier_until <= at:
            self.review()
        if at >= self.period[1]:
            self.turn(at)
        self.settled_at = at
        return at

    def picture(self):
        """What settling may change.  What lapses pays for returns of any lot, and debts are paid for any."""
        lots = self.lots if self.debt() or self.holds() else self.live
        return (self.settled_at, self.tier, self.tier_until, self.rests_on, self.kept, self.period, len(self.changes), list(self.live),
                [(lot, lot.remaining, lot.owed, lot.dead, lot.open, dict(lot.moves), [list(payment) for payment in lot.payments])
                 for lot in lots],
                [(debt, debt.left) for debt in self.debts],
                [(hold, [list(part) for part in hold.taken]) for hold in self.holds()])

    def put_back(self, undo):
        if undo:
            self.settled_at, self.tier, self.tier_until, self.rests_on, self.kept, self.period, changes, self.live, lots, debts, holds = undo[0]
            del self.changes[changes:]
            for lot, lot.remaining, lot.owed, lot.dead, lot.open, moves, lot.payments in lots:
                lot.moves.clear()
                lot.moves.update(moves)
            for debt, debt.left in debts:
                pass
            for hold, hold.taken in holds:
                hold.state = 'held'

    def bury(self, at):
        for lot in [lot for lot in self.live if lot.expires_at + (MISTAKE == 'life') <= at]:
            self.die(lot)

    def die(self, lot):
        """What remains of it counts no more."""
        if lot.open:
            self.live.remove(lot)
            lot.open = False
        lot.dead = True
        lot.moves['expire'] -= lot.remaining

    # -- balance

    def available(self):
        return sum(lot.remaining for lot in self.live if lot.available_at <= self.settled_at)

    def pending(self):
        return sum(lot.remaining for lot in self.live if lot.available_at > self.settled_at)

    def holds(self):
        return [redemption for redemption in self.redemptions if redemption.state == 'held']

    def held(self):
        return sum(hold.left() for hold in self.holds())

    def debt(self):
        return sum(debt.left for debt in self.debts)

    def next_expiry(self):
        """When something dies next, and how much."""
        first = min((lot.expires_at for lot in self.live), default=FOREVER)
        if first == FOREVER:
            return None, None
        return first, sum(lot.remaining for lot in self.live if lot.expires_at == first)

    # -- lots

    def change_lot(self, lot, points, kind):
        """Points of a lot that is alive come or go; of one that is dead they come and die at once.  kind: None when that
        is counted."""
        lot.remaining += points
        if kind:
            lot.moves[kind] += points
        assert lot.remaining >= 0
        if lot.dead or lot.expires_at <= self.settled_at:
            lot.dead = True
            lot.moves['expire'] -= points
        elif lot.remaining > 0 and not lot.open:
            lot.open = True
            insort(self.live, lot)
        elif lot.remaining == 0 and lot.open:
            lot.open = False
            self.live.remove(lot)

    def grant(self, points, at, **columns):
        lot = Lot(no=len(self.lots), at=at, points=points, **columns)
        if points == 0:
            lot.expires_at = NEVER
        self.lots.append(lot)
        lot.remaining = points
        if lot.expires_at <= at:
            lot.dead = True
            if points:
                lot.moves['expire'] -= points
        elif points:
            lot.open = True
            insort(self.live, lot)
        return lot

    def burn(self, points, kind):
        """Available points, those that die first first; what was taken from where."""
        taken = []
        for lot in list(self.live):
            if points == 0:
                break
            if lot.available_at <= self.settled_at:
                part = min(lot.remaining, points)
                self.change_lot(lot, -part, kind)
                taken.append([lot, part])
                points -= part
        assert points == 0
        return taken

    # -- redemptions

    def bring_back(self, redemption, points, kind):
        """The last taken first, each to its own lot.  How many are alive, and how many dead."""
        alive = dead = 0
        while points:
            taken = redemption.taken[-1]
            lot = taken[0]
            part = min(points, taken[1])
            taken[1] -= part
            points -= part
            if taken[1] == 0:
                redemption.taken.pop()
            its_alive, its_dead = self.restore(lot, part, kind)
            alive += its_alive
            dead += its_dead
        return alive, dead

    def capture(self, hold, points):
        self.bring_back(hold, hold.left() - points, 'hold')
        for lot, part in hold.taken:
            lot.moves['hold'] += part
            lot.moves['redeem'] -= part
        hold.state = 'captured'
        self.pay_debts()

    def release(self, hold):
        self.bring_back(hold, hold.left(), 'hold')
        hold.state = 'released'
        self.pay_debts()

    def reverse(self, redemption, points):
        alive, dead = self.bring_back(redemption, points, 'restore')
        if not redemption.taken:
            redemption.state = 'reversed'
        owed = self.debt()
        self.pay_debts()
        return alive - (owed - self.debt()), dead

    # -- purchases

    def evaluate(self, cents, kind):
        """(name, units, rule or None) of every rule, in order of shares, and the tier's bonus."""
        program = self.program
        units = {}
        base = 0
        for rule in program.order:
            numerator, denominator = 0, 1
            if rule.kinds is None or kind in rule.kinds:
                numerator, denominator = rule.points(cents, base)
            units[rule.name] = numerator // denominator
            if not rule.bonus:
                base += units[rule.name]
        for group in {rule.group for rule in program.order if rule.group}:
            best = max((rule for rule in program.order if rule.group == group),
                       key=lambda rule: (units[rule.name], rule.priority, -program.rules.index(rule)))
            for rule in program.order:
                if rule.group == group and rule is not best:
                    units[rule.name] = 0
        result = [(rule.name, units[rule.name], rule) for rule in program.order]
        bonus = program.tiers[self.tier][2] if self.tier >= 0 else 0
        return result + [('tier', base * bonus // 10_000, None)]

    def earn(self, key, cents, kind, occurred_at, now, former):
        """An award; former: those that the purchase has, beyond which this one goes."""
        program = self.program
        at = self.settle(min(occurred_at, now))
        award = Award()
        award.amount = award.kept = cents - sum(other.amount for other in former)
        award.mode, award.step = program.rounding, program.step
        award.counted_at = min(occurred_at, at)
        award.shares = []
        dates = [self.dates(None, occurred_at, at)]
        for name, units, rule in self.evaluate(cents, kind):
            units -= sum(share.units for other in former for share in other.shares if share.name == name)
            if units > 0:
                its = self.dates(rule, occurred_at, at)
                if its not in dates:
                    dates.append(its)
                award.shares.append(Share(name, units, dates.index(its)))
        award.lots = [None] * len(dates)
        award.lots = [self.grant(points, at, key=key, earned_at=occurred_at, available_at=available_at,
                                 expires_at=expires_at, award=award)
                      for (available_at, expires_at), points in zip(dates, award.kept_points(award.amount))]
        self.pay_debts()
        self.count(award.counted_at, award.amount, sum(lot.points for lot in award.lots), at)
        return award

    def dates(self, rule, occurred_at, at):
        program = self.program
        pending = rule.pending if rule and rule.pending is not None else program.pending
        expiry = rule.expiry if rule and rule.expiry is not None else program.expiry
        available_at = pending.after(occurred_at, program.zone) if pending else min(occurred_at, at)
        start = available_at if program.expiry_from == 'available' else occurred_at
        return available_at, expiry.first_dead(start, program.zone)

    def keep(self, award, kept, at):
        """So much of an award's amount is kept (None: nothing of a purchase of no amount)."""
        if kept == award.kept:
            return
        self.settle(at)
        cents = (kept or 0) - (award.kept or 0)
        before, after = award.kept_points(award.kept), award.kept_points(kept)
        for lot, was, is_now in zip(award.lots, before, after):
            if is_now > was:
                self.give_back(lot, is_now - was)
        award.kept = kept                       # what one lot gives back to another may go on to who paid for that
        self.take_back([[lot, was - is_now] for lot, was, is_now in sorted(zip(award.lots, before, after)) if is_now < was], sorted(award.lots))
        self.pay_debts()
        self.count(award.counted_at, cents, sum(after) - sum(before), self.settled_at)

    def take_back(self, dues, own):
        """dues: [lot of the award, what it is to lose].  From the award's own lots, pending ones first, what has expired
        counting as taken, each for its own share first; then by the program's policy."""
        pending_only = self.program.clawback == 'pending_only'
        now = self.settled_at
        for lot in [lot for lot in own if not lot.dead and lot.available_at > now]:
            self.take_from(lot, dues)
        if not pending_only:
            for lot in [lot for lot in own if not lot.dead]:
                self.take_from(lot, dues)
        for lot in [lot for lot in own if lot.dead]:
            self.take_from(lot, dues)
        for due in dues:
            if not pending_only:
                for other in list(self.live):
                    if due[1] and other.available_at <= now:
                        self.take_from(other, [due])
            lot, points = due
            if points and self.program.clawback == 'debt':
                lot.moves['clawback'] -= points
                lot.moves['debt'] += points
                self.debts.append(Debt(lot, points))
            else:
                lot.owed += points

    def take_from(self, payer, dues):
        """For its own share, then for those of the others."""
        for due in sorted(dues, key=lambda due: due[0] is not payer):
            part = min(payer.remaining, due[1])
            if part == 0:
                continue
            if payer.dead:
                payer.remaining -= part
                payer.moves['clawback'] -= part
                payer.moves['expire'] += part
            else:
                self.change_lot(payer, -part, 'clawback')
            due[1] -= part
            if payer is not due[0]:
                due[0].payments.append([payer, part, None])

    def give_back(self, lot, points):
        """A return is undone from its end."""
        part = min(lot.owed, points)
        lot.owed -= part
        points -= part
        for debt in reversed(self.debts):
            part = min(debt.left, points) if debt.lot is lot else 0
            debt.left -= part
            points -= part
            lot.moves['clawback'] += part
            lot.moves['debt'] -= part
        while points and lot.payments:
            payer, paid, debt = payment = lot.payments[-1]
            part = min(paid, points)
            points -= part
            payment[1] -= part
            if payment[1] == 0:
                lot.payments.pop()
            if debt:
                lot.moves['clawback'] += part
                lot.moves['debt'] -= part
            self.restore(payer, part, 'repay' if debt else 'clawback')
        if points:
            self.change_lot(lot, points, 'clawback')

    def restore(self, lot, points, kind):
        """To a lot: of one of which something was returned, what it owes is paid first, and then those who paid in its
        place.  How many live in the end, and how many are dead, in this lot or in theirs.  Who is first does not
        matter, and points may go round among lots that paid for each other, until that is paid back."""
        alive = dead = 0
        lot.moves[kind] += points
        coming = {lot: points}
        while coming:
            lot, points = coming.popitem()
            owed = 0 if self.program.clawback == 'pending_only' else min(lot.owed, points)
            lot.owed -= owed
            lot.moves['clawback'] -= owed
            points -= owed
            if lot.award and lot.award.kept != lot.award.amount:
                points = self.pay_own_debts(lot, points)
                points = self.pay_payers(lot, points, coming)
            if points:
                self.change_lot(lot, points, None)
                if lot.dead:
                    dead += points
                else:
                    alive += points
        return alive, dead

    def pay_own_debts(self, lot, points):
        """Points that come back to a lot that began a debt, also when they would be dead there."""
        for debt in self.debts:
            part = min(debt.left, points) if debt.lot is lot else 0
            if part:
                debt.left -= part
                points -= part
                lot.moves['repay'] -= part
                lot.payments.append([lot, part, debt])
        return points

    def pay_payers(self, lot, points, coming):
        """What comes to whom is added there; returns what is left."""
        while points:
            payment = next((payment for payment in reversed(lot.payments) if payment[0] is not lot), None)
            if payment is None:
                break
            payer, paid, debt = payment
            part = min(paid, points)
            points -= part
            payment[1] -= part
            if payment[1] == 0:
                lot.payments.remove(payment)
            if debt:
                lot.payments.append([lot, part, debt])
            kind = 'repay' if debt else 'clawback'
            lot.moves[kind] -= part
            payer.moves[kind] += part
            coming[payer] = coming.get(payer, 0) + part
        return points

    def pay_debts(self):
        """While something is owed, nothing is available."""
        for debt in self.debts:
            for lot in list(self.live) if debt.left else ():
                if lot.available_at <= self.settled_at and debt.left:
                    part = min(lot.remaining, debt.left)
                    self.change_lot(lot, -part, 'repay')
                    debt.left -= part
                    debt.lot.payments.append([lot, part, debt])


class Shop:
    """The table of purchases, the program over it, and everybody's account: one world."""

    def __init__(self, program, now):
        self.program = program
        self.now = now
        self.rows = {}                          # id -> [member, cents, kind, ok, occurred_at, id of the purchase that it returns]
        self.accounts = {}
        self.awards = {}                        # id -> [(member, award)]
        self.returns = {}                       # id of a return -> [id of a purchase or None, cents, under whom it was taken, whose purchase it is], in the order of taking

    # -- rows

    def is_return(self, key):
        _, cents, _, _, _, of = self.rows[key]
        return key >= BACK or of is not None or cents < 0

    def awards_of(self, key, member):
        return [award for who, award in self.awards.get(key, ()) if who == member]

    def row_there(self, key, changed_at=None):
        """A row was written: keep what it earned before, and earn beyond it."""
        if self.is_return(key):
            self.return_there(key, changed_at)
            return
        member, cents, kind, ok, occurred_at, _ = self.rows[key]
        if member is None:
            return
        account = self.accounts.get(member)
        if account is None:
            if not ok or self.program.enrollment == 'explicit':
                return
            account = self.enroll_at(member, min(occurred_at, self.now))
        awards = self.awards_of(key, member)
        earns = ok and account.status == 'active' and (not awards or cents > sum(award.amount for award in awards))
        self.keep(key, member, self.now, earns)
        if earns:
            award = account.earn(key, cents, kind, occurred_at, self.now, awards)
            self.awards.setdefault(key, []).append((member, award))
            self.keep(key, member, account.settled_at)
        if ok and self.awards_of(key, member):
            for part in self.returns_of(key):
                part[3] = member                # they go with the purchase

    def returns_of(self, key):
        return [part for parts in self.returns.values() for part in parts if part[0] == key]

    def kept(self, key, member, earns=False):
        """What of the amount of a purchase a member keeps; None: nothing, also of a purchase of no amount.  earns: what it
        is about to earn for is kept first."""
        row = self.rows.get(key)
        if row is None or self.is_return(key) or row[0] != member or not row[3]:
            return None
        returned = [cents for parts in self.returns.values() for of, cents, _, _ in parts if of == key]
        left = (row[1] if earns else min(row[1], sum(award.amount for award in self.awards_of(key, member)))) - sum(returned)
        return None if returned and left <= (-1 if MISTAKE == 'returns' else 0) else left

    def keep(self, key, member, at, earns=False):
        """Of awards of one purchase the first keeps first."""
        cents = self.kept(key, member, earns)
        left = cents or 0
        for award in self.awards_of(key, member):
            kept = min(left, award.amount) if award.amount or cents is not None else None
            self.accounts[member].keep(award, kept, at)
            left -= kept or 0

    # -- returns

    def return_there(self, key, changed_at=None):
        """A row that is a return was written, or is another now."""
        member, cents, _, ok, occurred_at, of = self.rows[key]
        former = self.returns.pop(key, [])
        at = changed_at or (self.now if former else min(occurred_at, self.now))
        if not ok:
            former = self.give_up(former, at)
        elif of is not None:
            self.give_up([part for part in former if part[0] != of], at)
            if self.can_wait(of, member, min(occurred_at, self.now)):
                route = self.works_on(self.rows[key])
                self.returns[key] = [[of, abs(cents), route, route]]
                self.keep_sale(of, at)
        elif member is not None:
            if any(part[2:] != [member, member] for part in former):
                self.give_up(former, at)                # another member's, or what it took from has changed hands
                former = []
            self.returns[key] = former
            self.take_newest(key, member, abs(cents), at)

    def works_on(self, row):
        """Whose account a return changes."""
        member, *_, of = row
        owners = [who for who, _ in self.awards.get(of, ())]
        return member if not owners else self.rows[of][0] if of in self.rows and self.rows[of][0] in owners else owners[-1]

    def give_up(self, parts, at):
        """Parts of a return that are none any more: what was taken last is given back first."""
        for of, *_ in reversed(parts):
            self.keep_sale(of, at)

    def keep_sale(self, key, at):
        for member in {who for who, _ in self.awards.get(key, ())}:
            self.keep(key, member, at)

    def can_wait(self, of, member, at):
        """Is there the purchase, or somebody under whose account the return waits for it?"""
        if of in self.awards:
            return True
        if member is not None and member not in self.accounts and self.program.enrollment == 'automatic':
            self.enroll_at(member, at)
        return member is not None

    def take_newest(self, key, member, cents, at):
        """A return that names no purchase, whose parts are to be so much in all."""
        parts = self.returns[key]
        left = cents - sum(part[1] for part in parts)
        while left < 0:
            of, part, *whose = parts.pop()
            if part + left > 0:
                parts.append([of, part + left, *whose])
            left = min(0, left + part)
            self.keep_sale(of, at)
        newest = sorted(((min(award.lots[0].earned_at, award.lots[0].at), award.lots[0].no, of, award.kept or 0)
                         for of, awards in self.awards.items() for who, award in awards if who == member), reverse=True)
        found = {}                              # all of one purchase at once
        for _, _, of, kept in newest:
            part = min(left, kept)
            if part > 0:
                found[of] = found.get(of, 0) + part
                left -= part
        for of, part in found.items():
            parts.append([of, part, member, member])
            self.keep_sale(of, at)
        if left > 0 or not parts:
            parts.append([None, left, member, member])          # found nothing: dropped for good

    # -- statements

    def row_gone(self, key, row, next_row=lambda key: None):
        """That was there; what is there now under its key is known already.  A purchase earns before what it took as a
        return is given back."""
        parts = self.returns.get(key, [])
        if row[0] is not None and row[0] in self.accounts:
            self.keep(key, row[0], self.now)
        if key in self.rows and parts and not self.is_return(key):
            next_row(key)
            del self.returns[key]
            self.give_up(parts, self.now)
        else:
            self.returns.pop(key, None)
            self.give_up(parts, self.now)
            next_row(key)

    def insert(self, rows):
        if any(row[0] in self.rows for row in rows) or len({row[0] for row in rows}) < len(rows):
            raise Refused('23505')
        for key, *values in rows:
            self.rows[key] = values
            self.row_there(key)

    def update(self, keys, changes):
        for key in keys:
            if key not in self.rows:
                continue
            old, was_return = self.rows[key], self.is_return(key)
            works_on = self.works_on(old)
            new = self.rows[key] = [changes.get(name, value)
                                    for name, value in zip(('who', 'total', 'kind', 'ok', 'at', 'of_id'), old)]
            if [new[0], new[1], new[3], new[5]] == [old[0], old[1], old[3], old[5]]:
                continue                        # kind and time alone do not matter
            routes = (works_on, self.works_on(new))
            if was_return != self.is_return(key) or (routes[0] != routes[1] and (old[5] is None or new[5] is None)):
                # the account with the greater number is worked first: there the return is still known as a former one
                known = key in self.returns and (routes[1] or 0) > (routes[0] or 0)
                self.row_gone(key, old, lambda key: self.row_there(key, self.now if known else None))
            else:
                self.row_there(key)

    def rekey(self, key, new):
        if key not in self.rows or key == new:
            return
        if new in self.rows:
            raise Refused('23505')
        row = self.rows[new] = self.rows.pop(key)
        self.row_gone(key, row)
        self.row_there(new)

    def delete(self, keys):
        for key in keys:
            row = self.rows.pop(key, None)
            if row:
                self.row_gone(key, row)

    # -- calls

    def account(self, member):
        if member not in self.accounts:
            raise Refused('LY002')
        return self.accounts[member]

    def enroll_at(self, member, at):
        account = self.accounts[member] = Account(self.program, member, at)
        return account

    def enroll(self, member, at):
        if at > self.now:
            raise Refused('LY017')
        account = self.accounts.get(member) or self.enroll_at(member, at)
        undo = []
        account.settle(self.now, undo)
        tier = account.tier
        account.put_back(undo)
        return [tier, account.enrolled_at]

    def set_status(self, member, status):
        account = self.account(member)
        changes = account.status != status
        if changes:
            account.settle(self.now)
            account.status = status
        return [changes]

    def maintain(self):
        for account in self.accounts.values():
            account.settle(self.now)
        return [len(self.accounts)]

    def balance(self, member):
        account = self.account(member)
        undo = []
        account.settle(self.now, undo)
        result = [account.available(), account.pending(), account.held(), account.debt(), account.tier, *account.next_expiry()]
        account.put_back(undo)
        return result

    def request(self, member, call, arguments, key, work):
        """One key, one effect: work() is done once, and nothing of it remains when it is refused."""
        account = self.account(member)
        if key is not None and key in account.requests:
            former, same, answer = account.requests[key]
            if former != call or same != arguments:
                raise Refused('LY004')
            return answer
        undo = []
        try:
            account.settle(self.now, undo)
            answer = work(account)
        except Refused:
            account.put_back(undo)
            raise
        if key is not None:
            account.requests[key] = (call, arguments, answer)
        return answer

    def check_points(self, points):
        if points == 0 or points % self.program.step:
            raise Refused('LY017')

    def check_available(self, account, points):
        if account.debt() or account.available() < points:
            raise Refused('LY001')

    def redeem(self, member, points, reward, quantity, hold, key):
        if points is not None:
            self.check_points(points)
            if points < 0:
                raise Refused('LY017')

        def work(account):
            if account.status != 'active':
                raise Refused('LY009')
            cost = points
            if reward is not None:
                if reward not in self.program.rewards:
                    raise Refused('LY005')
                cost = self.program.rewards[reward] * quantity
            self.check_available(account, cost)
            at = account.settled_at
            redemption = Redemption(cost, 'captured' if hold is None else 'held', key, at, None if hold is None else at + (hold or HOLD))
            redemption.taken = account.burn(cost, 'redeem' if hold is None else 'hold')
            account.redemptions.append(redemption)
            return redemption
        redemption = self.request(member, 'redeem', (points, reward, quantity, HOLD if hold == 0 else hold), key, work)
        if redemption.state == 'held':
            self.accounts[member].settle(self.now)      # an old one is answered as it is now: it may have lapsed
        return [redemption.points, redemption.state]

    def change_redemption(self, member, n, what, points, key):
        """Capture, release or reverse the member's nth redemption."""
        account = self.accounts.get(member)
        if account is None or n >= len(account.redemptions):
            raise Refused('LY017')

        def work(account):
            redemption = account.redemptions[n]
            if redemption.state != ('captured' if what == 'reverse' else 'held'):
                raise Refused('LY006')
            if what == 'capture' and account.status != 'active':
                raise Refused('LY009')
            if points is not None:
                self.check_points(points)
                if points < 0:
                    raise Refused('LY017')
            about = redemption.left() if points is None else points
            if about > redemption.left():
                raise Refused('LY006')
            if what == 'reverse':
                alive, dead = account.reverse(redemption, about)
                return [about, redemption.state, alive, dead]
            if what == 'capture':
                account.capture(redemption, about)
            else:
                account.release(redemption)
            return [about, redemption.state]
        return self.request(member, what, (n, points), key, work)

    def adjust(self, member, points, key, expires_at, available_at, counts):
        self.check_points(points)
        if points < 0 and (expires_at is not None or available_at is not None):
            raise Refused('LY017')

        def work(account):
            at = account.settled_at
            if points < 0:
                self.check_available(account, -points)
                account.burn(-points, 'adjust')
                answer = [points, None, None]
            else:
                start = max(available_at, at) if available_at is not None else at
                end = expires_at if expires_at is not None else self.program.expiry.first_dead(
                    start if self.program.expiry_from == 'available' else at, self.program.zone)
                if end <= start:
                    raise Refused('LY017')
                account.grant(points, at, key=None, earned_at=at, available_at=start, expires_at=end)
                account.pay_debts()
                answer = [points, start, end]
            if counts:
                account.count(at, 0, points, at)
            return answer
        return self.request(member, 'adjust', (points, expires_at, available_at, counts), key, work)
