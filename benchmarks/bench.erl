%% The same work on the BEAM: started by benchmarks/erlang.py, which checks the answers.
%%
%% main/2 prints one line, "Nanoseconds Answer" and further figures as Name=Value; what is timed is
%% what callboard's version times. Processes are plain ones; `ask` and `gather` use gen_server, as
%% their users would.
-module(bench).
-behaviour(gen_server).

-export([main/2]).
-export([init/1, handle_call/3, handle_cast/2]).

main(Name, Params) ->
    {Nanoseconds, Answer, Extra} = run(Name, Params),
    Further = [io_lib:format(" ~s=~w", [Key, Value]) || {Key, Value} <- Extra],
    io:format("~w ~w~s~n", [Nanoseconds, Answer, Further]).

timed(Work) ->
    Began = erlang:monotonic_time(nanosecond),
    Answer = Work(),
    {erlang:monotonic_time(nanosecond) - Began, Answer, []}.

times(0, _) -> ok;
times(N, Do) -> Do(), times(N - 1, Do).

%% Savina's token work.
burn(Rounds) -> burn(Rounds, 37.2).
burn(0, Value) -> Value;
burn(N, Value) -> burn(N - 1, Value * 0.5 + 1.0).

done() -> receive {done, Answer} -> Answer end.

%% -- Savina ---------------------------------------------------------------------------------

run(count, [Messages]) ->
    Main = self(),
    Counter = spawn_link(fun() -> counter(0, Main) end),
    timed(fun() ->
        tell_numbers(Counter, 0, Messages),
        Counter ! none,
        done()
    end);

run(pingpong, [Pings]) ->
    Main = self(),
    Pong = spawn_link(fun() -> pong(0, Main) end),
    Ping = spawn_link(fun() -> ping(Pings, Pong) end),
    timed(fun() -> Ping ! none, done() end);

run(threadring, [Actors, Hops]) ->
    Main = self(),
    Ring = [spawn_link(fun() -> station(Place, Main) end) || Place <- lists:seq(0, Actors - 1)],
    [Pid ! {next, Next} || {Pid, Next} <- lists:zip(Ring, tl(Ring) ++ [hd(Ring)])],
    timed(fun() -> hd(Ring) ! Hops, done() end);

run(fjcreate, [Actors]) ->
    Main = self(),
    timed(fun() ->
        times(Actors, fun() ->
            Pid = spawn(fun() -> receive N -> burn(N), Main ! ended end end),
            Pid ! 1
        end),
        collect(Actors, 0)
    end);

run(fjthrput, [Messages, Actors]) ->
    Main = self(),
    Pids = [spawn_link(fun() -> worker(Messages, Main) end) || _ <- lists:seq(1, Actors)],
    timed(fun() ->
        times(Messages, fun() -> [Pid ! 1 || Pid <- Pids] end),
        collect(Actors, 0)
    end);

run(big, [Messages, Actors]) ->
    Main = self(),
    Pids = list_to_tuple([spawn_link(fun() ->
        rand:seed(exsss, Place),
        receive Others -> ok end,
        member(Messages, 0, Others, Main)
    end) || Place <- lists:seq(1, Actors)]),
    [Pid ! Pids || Pid <- tuple_to_list(Pids)],
    timed(fun() ->
        [Pid ! none || Pid <- tuple_to_list(Pids)],
        [receive {idle, _} -> ok end || _ <- lists:seq(1, Actors)],
        lists:sum([begin Pid ! {report, Main}, done() end || Pid <- tuple_to_list(Pids)])
    end);

run(bndbuffer, [Size, Producers, Consumers, Items, Cost]) ->
    Main = self(),
    Total = Producers * Items,
    Keeper = spawn_link(fun() ->
        keeper(Size, 0, queue:new(), queue:new(), queue:new(), 0, Total, Main)
    end),
    Pids = [spawn_link(fun() -> consumer(Keeper, Cost) end) || _ <- lists:seq(1, Consumers)]
        ++ [spawn_link(fun() -> producer(Keeper, Items, Cost) end)
            || _ <- lists:seq(1, Producers)],
    timed(fun() -> [Pid ! 'begin' || Pid <- Pids], done() end);

run(chameneos, [Chameneos, Meetings]) ->
    Main = self(),
    Mall = spawn_link(fun() -> mall(Meetings, none, 0, 0, Chameneos, Main) end),
    Colours = {blue, red, yellow},
    Pids = [spawn_link(fun() -> creature(Mall, element(1 + I rem 3, Colours), 0) end)
            || I <- lists:seq(0, Chameneos - 1)],
    timed(fun() -> [Pid ! 'begin' || Pid <- Pids], done() end);

run(banking, [Accounts, Transactions]) ->
    rand:seed(exsss, 7),
    Pids = list_to_tuple([spawn_link(fun() -> account(1000.0) end)
                          || _ <- lists:seq(1, Accounts)]),
    timed(fun() ->
        times(Transactions, fun() ->
            Source = rand:uniform(Accounts - 1),
            Target = Source + rand:uniform(Accounts - Source),
            element(Source, Pids)
                ! {transfer, rand:uniform() * 100, element(Target, Pids), self()}
        end),
        transferred(Transactions, 0)
    end);

run(philosopher, [Philosophers, Meals]) ->
    Main = self(),
    Total = Philosophers * Meals,
    Arbiter = spawn_link(fun() ->
        arbiter(erlang:make_tuple(Philosophers, false), 0, Total, Main)
    end),
    Pids = [spawn_link(fun() -> philosopher(Arbiter, Seat, Philosophers, Meals) end)
            || Seat <- lists:seq(1, Philosophers)],
    timed(fun() -> [Pid ! 'begin' || Pid <- Pids], done() end);

%% -- asks, spawning, memory, growth ---------------------------------------------------------

run(ask, [Asks]) ->
    {ok, Echo} = gen_server:start_link(?MODULE, [], []),
    timed(fun() -> ask_all(Echo, 0, Asks, 0) end);

run(gather, [Replies, Width]) ->
    Pids = [element(2, gen_server:start_link(?MODULE, [], [])) || _ <- lists:seq(1, Width)],
    Rounds = max(1, Replies div Width),
    timed(fun() -> gather(Rounds, Pids, 0) end);

run(spawn, [Actors]) ->
    Began = erlang:monotonic_time(nanosecond),
    Pids = [element(2, gen_server:start(?MODULE, [], [])) || _ <- lists:seq(1, Actors)],
    Born = erlang:monotonic_time(nanosecond),
    Monitors = [monitor(process, Pid) || Pid <- Pids],
    [gen_server:cast(Pid, stop) || Pid <- Pids],
    Stopped = [receive {'DOWN', Monitor, process, _, normal} -> 1 end || Monitor <- Monitors],
    Ended = erlang:monotonic_time(nanosecond),
    {Ended - Began, lists:sum(Stopped), [
        {spawn_us, (Born - Began) / Actors / 1000},
        {stop_us, (Ended - Born) / Actors / 1000}
    ]};

run(idle, [Actors]) ->
    erlang:garbage_collect(),
    Before = erlang:memory(total),
    Began = erlang:monotonic_time(nanosecond),
    Pids = [spawn(fun() -> receive {ask, From} -> From ! {done, there} end end)
            || _ <- lists:seq(1, Actors)],
    Nanoseconds = erlang:monotonic_time(nanosecond) - Began,
    Used = erlang:memory(total) - Before,
    lists:last(Pids) ! {ask, self()},
    there = done(),
    Stopping = erlang:monotonic_time(nanosecond),
    Monitors = [monitor(process, Pid) || Pid <- Pids],
    [exit(Pid, kill) || Pid <- Pids],
    [receive {'DOWN', Monitor, process, _, _} -> ok end || Monitor <- Monitors],
    Stopped = erlang:monotonic_time(nanosecond) - Stopping,
    {Nanoseconds, length(Pids), [
        {bytes_per_actor, Used / Actors},
        {stop_all_seconds, Stopped / 1.0e9}
    ]};

run(actors, [Actors, Messages]) ->
    Main = self(),
    Rounds = max(1, Messages div Actors),
    Pids = [spawn(fun() -> worker(Rounds, Main) end) || _ <- lists:seq(1, Actors)],
    timed(fun() ->
        times(Rounds, fun() -> [Pid ! 1 || Pid <- Pids] end),
        collect(Actors, 0)
    end);

run(waiting, [Waiting, Messages]) ->
    Main = self(),
    spawn(fun() ->
        [self() ! Token || Token <- lists:seq(1, Waiting)],
        Main ! timed(fun() -> circulate(Messages) end)
    end),
    receive {_, _, _} = Timed -> Timed end.

%% -- processes ------------------------------------------------------------------------------

tell_numbers(_, N, N) -> ok;
tell_numbers(Pid, I, N) -> Pid ! I, tell_numbers(Pid, I + 1, N).

counter(Seen, Main) ->
    receive
        none -> Main ! {done, Seen};
        _ -> counter(Seen + 1, Main)
    end.

collect(0, Seen) -> Seen;
collect(Left, Seen) -> receive ended -> collect(Left - 1, Seen + 1) end.

ping(Left, Pong) ->
    receive
        none when Left > 0 -> Pong ! self(), ping(Left - 1, Pong);
        none -> Pong ! none
    end.

pong(Seen, Main) ->
    receive
        none -> Main ! {done, Seen};
        Pid -> Pid ! none, pong(Seen + 1, Main)
    end.

station(Place, Main) -> receive {next, Next} -> station(Place, Next, Main) end.

station(Place, Next, Main) ->
    receive
        0 -> Main ! {done, Place};
        Left -> Next ! Left - 1
    end,
    station(Place, Next, Main).

worker(0, Main) -> Main ! ended;
worker(Left, Main) -> receive N -> burn(N), worker(Left - 1, Main) end.

member(Left, Answered, Others, Main) ->
    receive
        none when Left > 0 ->
            element(rand:uniform(tuple_size(Others)), Others) ! self(),
            member(Left - 1, Answered, Others, Main);
        none -> Main ! {idle, self()}, member(Left, Answered, Others, Main);
        {report, From} -> From ! {done, Answered};
        Pid -> Pid ! none, member(Left, Answered + 1, Others, Main)
    end.

keeper(Size, Used, Buffer, Free, Held, Seen, Total, Main) ->
    receive
        {item, Who, Item} ->
            {NowUsed, NowBuffer, NowFree} = case queue:out(Free) of
                {{value, Consumer}, Rest} -> Consumer ! Item, {Used, Buffer, Rest};
                {empty, _} -> {Used + 1, queue:in(Item, Buffer), Free}
            end,
            NowHeld = if
                NowUsed >= Size -> queue:in(Who, Held);
                true -> Who ! more, Held
            end,
            keeper(Size, NowUsed, NowBuffer, NowFree, NowHeld, Seen, Total, Main);
        {ready, Who, Item} ->
            {NowUsed, NowBuffer, NowFree, NowHeld} = case queue:out(Buffer) of
                {{value, Next}, Rest} ->
                    Who ! Next,
                    {Used - 1, Rest, Free, release(queue:out(Held))};
                {empty, _} -> {Used, Buffer, queue:in(Who, Free), Held}
            end,
            NowSeen = if Item =:= none -> Seen; true -> Seen + 1 end,
            if NowSeen =:= Total, Item =/= none -> Main ! {done, NowSeen}; true -> ok end,
            keeper(Size, NowUsed, NowBuffer, NowFree, NowHeld, NowSeen, Total, Main)
    end.

release({{value, Producer}, Rest}) -> Producer ! more, Rest;
release({empty, Rest}) -> Rest.

producer(Keeper, Left, Cost) ->
    receive _ -> ok end,
    if
        Left > 0 -> Keeper ! {item, self(), burn(Cost)}, producer(Keeper, Left - 1, Cost);
        true -> producer(Keeper, Left, Cost)
    end.

consumer(Keeper, Cost) ->
    receive
        'begin' -> Keeper ! {ready, self(), none};
        Item -> burn(Cost), Keeper ! {ready, self(), Item}
    end,
    consumer(Keeper, Cost).

mall(_, _, Total, All, All, Main) -> Main ! {done, Total};
mall(Left, Waiting, Total, Gone, All, Main) ->
    receive
        {met, N} -> mall(Left, Waiting, Total + N, Gone + 1, All, Main);
        {Who, _} when Left =:= 0 -> Who ! none, mall(Left, Waiting, Total, Gone, All, Main);
        Creature when Waiting =:= none -> mall(Left, Creature, Total, Gone, All, Main);
        Creature ->
            {First, _} = Waiting,
            First ! Creature,
            mall(Left - 1, none, Total, Gone, All, Main)
    end.

creature(Mall, Colour, Met) ->
    receive
        none -> Mall ! {met, Met};
        'begin' -> Mall ! {self(), Colour}, creature(Mall, Colour, Met);
        {Other, Theirs} ->
            Mine = complement(Colour, Theirs),
            Other ! Mine,
            Mall ! {self(), Mine},
            creature(Mall, Mine, Met + 1);
        Mine -> Mall ! {self(), Mine}, creature(Mall, Mine, Met + 1)
    end.

complement(Same, Same) -> Same;
complement(blue, red) -> yellow;
complement(blue, yellow) -> red;
complement(red, blue) -> yellow;
complement(red, yellow) -> blue;
complement(yellow, blue) -> red;
complement(yellow, red) -> blue.

account(Balance) ->
    receive
        {transfer, Amount, Other, Teller} ->
            Other ! {credit, Amount, self(), Teller},
            account(Balance - Amount);
        {credit, Amount, _, Teller} ->
            Teller ! {transferred, Balance + Amount},
            account(Balance + Amount)
    end.

transferred(0, Seen) -> Seen;
transferred(Left, Seen) -> receive {transferred, _} -> transferred(Left - 1, Seen + 1) end.

arbiter(_, Total, Total, Main) -> Main ! {done, Total};
arbiter(Taken, Eaten, Total, Main) ->
    receive
        {hungry, Left, Right, Who} when element(Left, Taken); element(Right, Taken) ->
            Who ! denied,
            arbiter(Taken, Eaten, Total, Main);
        {hungry, Left, Right, Who} ->
            Who ! eat,
            arbiter(forks(Left, Right, true, Taken), Eaten, Total, Main);
        {done, Left, Right} ->
            arbiter(forks(Left, Right, false, Taken), Eaten + 1, Total, Main)
    end.

forks(Left, Right, State, Taken) -> setelement(Left, setelement(Right, Taken, State), State).

philosopher(Arbiter, Seat, Seats, Left) ->
    Right = 1 + Seat rem Seats,
    receive
        eat when Left =:= 1 -> Arbiter ! {done, Seat, Right};
        eat ->
            Arbiter ! {done, Seat, Right},
            Arbiter ! {hungry, Seat, Right, self()},
            philosopher(Arbiter, Seat, Seats, Left - 1);
        _ -> Arbiter ! {hungry, Seat, Right, self()}, philosopher(Arbiter, Seat, Seats, Left)
    end.

ask_all(_, N, N, Total) -> Total;
ask_all(Echo, I, N, Total) -> ask_all(Echo, I + 1, N, Total + gen_server:call(Echo, I)).

gather(0, _, Seen) -> Seen;
gather(Rounds, Pids, Seen) ->
    Requests = [gen_server:send_request(Pid, 1) || Pid <- Pids],
    Answers = [begin {reply, 1} = gen_server:receive_response(Request, 60000), 1 end
               || Request <- Requests],
    gather(Rounds - 1, Pids, Seen + length(Answers)).

circulate(0) -> 0;
circulate(Left) -> receive Token -> self() ! Token, circulate(Left - 1) end.

%% -- the gen_server that echoes -------------------------------------------------------------

init(State) -> {ok, State}.
handle_call(Message, _, State) -> {reply, Message, State}.
handle_cast(stop, State) -> {stop, normal, State}.
