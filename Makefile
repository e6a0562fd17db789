# make help tells what can be typed.  Targets above the line "PostgreSQL from here on" work before a
# server is installed: PGXS stops at once where its headers are missing.

EXTENSION = loyalty
MODULE_big = loyalty

# The control file is the one place that names the version.
version := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(EXTENSION).control)

OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))
PG_CPPFLAGS = -DLOYALTY_VERSION='"$(version)"'
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers $(WERROR)

# sql/code is the extension's script; sql/data is what loyalty.install() runs.
code_sql := $(sort $(wildcard sql/code/*.sql))
data_sql := $(sort $(wildcard sql/data/*.sql))
install_sql := sql/$(EXTENSION)--$(version).sql

DATA = $(wildcard sql/upgrade/*.sql)
DATA_built = $(install_sql)

# pg_regress looks for NAME.out in ./expected before test/expected on every PostgreSQL, as long as
# --outputdir is ".".  It also looks for NAME.sql in ./sql before test/sql, so no piece of ours lies there.
# install.sql is first: the other tests use the database that it leaves.
REGRESS = $(sort $(patsubst test/sql/%.sql,%,$(wildcard test/sql/*.sql)))
REGRESS_OPTS = --inputdir=test --load-extension=$(EXTENSION)
ISOLATION = $(sort $(patsubst test/specs/%.spec,%,$(wildcard test/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test --outputdir=. --load-extension=$(EXTENSION)
REGRESS_PREP = $(patsubst %,expected/%.out,$(REGRESS) $(ISOLATION))

EXTRA_CLEAN = tmp_install tmp_check

PG_CONFIG ?= pg_config

.PHONY: help deps demo test test-long test-17 bench coverage accept installcheck-pgtap installcheck-sql installcheck-tap

help:
	@printf '%s\n' \
	 'make demo        see it: build, start a throw-away server, load two years of purchases' \
	 'make test        every test, in a throw-away server; nothing is written outside of a temporary directory' \
	 'make test-long   what make test tries by samples, in full: hours' \
	 'make test-17     the same on PostgreSQL 17, in a Debian 13 that debootstrap makes (root)' \
	 'make bench       the figures of the README' \
	 'make coverage    which lines of C the tests run (TESTS=… names targets)' \
	 'make deps        install what building and testing needs (Debian; the targets above call it)' \
	 '' \
	 'For a server of your own:  make && make install && make installcheck   [PG_CONFIG=/path/to/pg_config]' \
	 'One test:                  make installcheck REGRESS=points' \
	 'Accept what a test prints: make accept, then read git diff'

deps:
	@scripts/deps.sh

demo bench coverage: deps
	@scripts/throwaway.sh $@

test test-long: deps
	@scripts/throwaway.sh $@

test-17:
	@scripts/debian13.sh

# Expect what the last installcheck printed.  Read git diff after.
accept:
	cp results/*.out expected/

# ---- PostgreSQL from here on ----
ifeq ($(filter-out help deps demo bench coverage test test-long test-17 accept,$(or $(MAKECMDGOALS),all)),)
else

PGXS := $(shell $(PG_CONFIG) --pgxs)

# PGXS owns SHLIB and friends in upper case: our own variables are lower case.
ifeq ($(wildcard $(dir $(PGXS))../test/isolation/pg_isolation_regress),)
override ISOLATION :=
endif

include $(PGXS)

.DEFAULT_GOAL := all

# PGXS tracks no headers.
$(OBJS): $(wildcard src/*.h) $(EXTENSION).control

# The directories are prerequisites too: a piece that goes away is a change.  OR REPLACE is for
# upgrades, which replay sql/code; in a first script it would take a stranger's object over.
$(install_sql): $(code_sql) $(data_sql) sql/code sql/data scripts/install_steps.sh $(EXTENSION).control
	printf '%s\n' '\echo Use "CREATE EXTENSION $(EXTENSION)" to load this file. \quit' > $@
	sed 's/^CREATE OR REPLACE /CREATE /' $(code_sql) >> $@
	scripts/install_steps.sh $(data_sql) >> $@

# A new test expects nothing, and fails with all that it prints.
expected/%.out:
	touch $@

# What the ledger does, once more with the store that writes by SQL.  The answers are the same, but for the words of some
# serialization failures, which PostgreSQL chooses: so without purchase_concurrent.
sql_tests = install access alias attacks bad_purchase balance benefit burn call carry challenge charity consent counter debt engagement enroll event explain follow follow_skip guard_rows hold inactivity key lifetime limit load maintenance member_role merge opening_balance partner paths payers plan points_spent pool pool_tier privacy program_daily quote recognition reconcile referral refund release reverse segment settings survey tier tier_expiry transfer verify views voucher voucher_issue
installcheck-sql:
	PGOPTIONS='-c loyalty.store=sql' $(MAKE) installcheck REGRESS='$(filter $(REGRESS),$(sql_tests))' ISOLATION='$(filter-out purchase_concurrent,$(ISOLATION))'

installcheck-pgtap:
	dropdb --if-exists pgtap_regression && createdb pgtap_regression
	pg_prove --dbname pgtap_regression $(PGTAP_OPTS) test/pgtap/*.sql

# TAP_TESTS of PGXS, for every PostgreSQL.  The tests run initdb, not for root.
not_root := $(if $(filter 0,$(shell id -u)),setpriv --reuid=postgres --regid=postgres --init-groups)
# first, so that the others fill the time of the second processor
slow_tests = $(patsubst %,test/t/%.pl,050_two_stores 025_online_retail_returns 070_index_runs 030_dump_restore 080_random_operations)
installcheck-tap:
	rm -rf tmp_check && $(MKDIR_P) tmp_check/log
	$(if $(not_root),chown -R postgres tmp_check)
	$(not_root) env HOME='$(CURDIR)/tmp_check' PATH="$(bindir):$$PATH" PGPORT=6$(DEF_PGPORT) \
	TESTDIR='$(CURDIR)' TESTDATADIR='$(CURDIR)/tmp_check' TESTLOGDIR='$(CURDIR)/tmp_check/log' \
	TEMP_CONFIG='$(TEMP_CONFIG)' PG_REGRESS='$(top_builddir)/src/test/regress/pg_regress' \
	prove -I $(top_srcdir)/src/test/perl -I test/perl $(PROVE_FLAGS) $(or $(PROVE_TESTS),$(slow_tests) $(filter-out $(slow_tests),$(sort $(wildcard test/t/*.pl))))

endif
