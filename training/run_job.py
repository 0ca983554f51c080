"""The process of one job: `python -m training.run_job`, started by the worker with an order in its
environment.

Who watches over whom: the *worker* renews the lease; this process only shows its fencing token with every
report. It ends by itself when the worker dies (the pipe at its standard input closes), when the token is
stale, and when it is asked to stop. It writes "succeeded" and "failed" itself; "cancelled" is written by
the worker, once no process of the job is left. A crash writes nothing: the worker sees the exit and queues
the job again.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from db.engine import Database, open_database
from db.errors import DatabaseError
from db.settings import DatabaseSettings
from training.database_reporter import DatabaseReporter
from training.errors import JobCancelled, LeaseLost, StaleLease
from training.job_failure import DATABASE_FAILED, DONE, LEASE_LOST, STOPPED, describe_failure
from training.jobs import ClaimedJob, JobContext, Jobs
from training.launch import JobOrder
from training.processes import die_with_parent
from training.registry import Registry
from training.reporting import Reporter

JobBody = Callable[[JobContext, Registry, Database, Reporter], dict[str, Any]]


def main() -> int:
    """Run the retraining that the environment orders."""
    return run(_retrain)


def run(body: JobBody) -> int:
    """Do `body` under the lease of the order, store what came of it, and return the exit code."""
    die_with_parent()
    order = JobOrder.from_environment(os.environ)
    os.nice(order.niceness)
    database = open_database(DatabaseSettings(url=order.database_url))
    jobs = Jobs(database)
    try:
        claimed = jobs.claimed(order.job_id, order.fencing_token)
        return _run_claimed(body, order, claimed, jobs)
    except (StaleLease, LeaseLost) as error:
        print(error, flush=True)
        return LEASE_LOST
    except DatabaseError:
        traceback.print_exc()
        return DATABASE_FAILED
    finally:
        database.dispose()


def _run_claimed(body: JobBody, order: JobOrder, claimed: ClaimedJob, jobs: Jobs) -> int:
    folder = order.jobs_dir / claimed.folder_name
    context = JobContext(
        job_id=claimed.job_id,
        fencing_token=claimed.fencing_token,
        folder=folder,
        snapshot_id=claimed.snapshot_id,
        config=claimed.config,
        attempt=claimed.attempt,
    )
    registry = Registry(database=jobs.database, models_dir=order.models_dir)
    failure: str | None = None
    with DatabaseReporter(jobs, claimed) as reporter:
        signal.signal(signal.SIGTERM, lambda *_: reporter.stop())
        try:
            result = body(context, registry, jobs.database, reporter)
        except JobCancelled:
            return STOPPED
        except (LeaseLost, StaleLease, DatabaseError):
            raise
        except Exception as error:
            traceback.print_exc()
            if reporter.is_stopping:  # its helpers were told to stop as well, and may have failed it
                return STOPPED
            failure = describe_failure(error, phase=reporter.current_phase, folder=folder)
    if failure is None:
        jobs.finish(claimed, "succeeded", result=result)
    else:
        jobs.finish(claimed, "failed", error=failure)
    return DONE


def _retrain(
    context: JobContext, registry: Registry, database: Database, reporter: Reporter
) -> dict[str, Any]:
    reporter.phase("loading", 0.0)
    from training.retrain import run_retraining  # ten seconds of imports, after the page has seen a phase

    return run_retraining(job=context, registry=registry, database=database, reporter=reporter)


if __name__ == "__main__":
    sys.exit(main())
