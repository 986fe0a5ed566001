"""Words: which ones carry meaning, and other words for them."""

import re

STOP = frozenset(
    "a an and are as at be but by can for from has have how if in into is it its may more no not "
    "of on one or other our out over same should so some such than that the their them then there "
    "these they this to too under up use using used via was we what when where which while who "
    "why will with within without you your about all also any both each few between do does".split()
)
# Titles of these words alone say nothing without the part they stand in.
GENERIC = frozenset(
    "abstract acknowledgements acknowledgments additional advanced appendix author authors basic "
    "basics command commands comments conclusion conclusions contents copyright credits "
    "description details discussion example examples exercise exercises features figure figures "
    "foreword function functions further general glossary goal goals history information "
    "introduction licence license list main miscellaneous note notes objective objectives option "
    "options other others output overview preface preliminaries problem procedure purpose reading "
    "remark remarks result results routine routines sample section see summary syntax table terms "
    "theory tips topics usage warning warnings".split()
)
# Each word with others for it that keep the sentence whole; the first that is not on the page
# is taken. A term of a program, a product or a formula has none, and its titles no paraphrase.
SYNONYMS: dict[str, tuple[str, ...]] = {
    word: tuple(others.split("/"))
    for word, others in (
        pair.split("=")
        for pair in """
adding=putting in/inserting;additional=extra/further;adjustable=tunable
administrative=organisational/clerical;advanced=sophisticated/harder;advantages=benefits/upsides
advice=tips/guidance;agreement=contract;alternative=other choice;alternatives=other choices
analysis=examination/study;application=use;applications=uses;arguments=inputs
assembling=putting together;assembly=putting together;assumptions=premises;author=writer
authors=writers;automatic=unattended;automatically=by itself;average=mean
background=history/context;basic=elementary/fundamental;basics=fundamentals/first steps
battery=power cell;benefits=advantages;brief=short/concise;broken=defective/faulty
budget=spending plan;bug=defect/flaw;bugs=defects/flaws;building=making/constructing
calculating=working out/computing;calculation=working out;causes=reasons;challenges=hurdles
changes=differences;changing=altering/modifying;checking=verifying/testing
children=kids/young people;choosing=picking/selecting;circular=cyclic;cleaning=tidying/washing
collaborative=joint/shared;collection=set/assortment;colors=hues;colours=hues
combining=putting together/joining;comments=remarks/annotations;common=frequent/usual
communication=exchange of messages;comparing=contrasting;comparison=contrast
compatibility=interoperation;complete=entire/full;components=parts/pieces;concepts=ideas/notions
conclusion=final remarks;conditions=circumstances/requirements;configuration=set-up/customisation
configuring=setting up;connecting=joining/linking;construction=making;contract=agreement
contributing=helping out/taking part;controlling=steering/governing
conventions=customs/agreed rules;converting=turning into another form;copying=duplicating
copyright=legal rights;cost=expense;costs=expenses/spending;counting=tallying
creating=making/producing;creation=making;credits=thanks;current=present/up-to-date
customer=client;customers=clients;customization=adapting it;customizing=adapting/tailoring
daily=everyday;deadline=due date;deadlines=due dates;debugging=finding faults/troubleshooting
defining=specifying/declaring;definition=meaning/what it means;definitions=meanings
deleting=removing/erasing;delivery=shipment;dependencies=prerequisites
deprecated=outdated/obsolete;description=explanation/account;details=particulars/specifics
determining=finding out;development=engineering;device=gadget/apparatus;differences=distinctions
difficulties=obstacles/trouble;disease=illness;diseases=illnesses;displaying=showing
documentation=manuals/written help;downloading=fetching;drawing=sketching;duties=obligations/tasks
editing=altering/revising;education=schooling;effect=consequence/impact
effects=consequences/impact;efficient=fast/economical;employees=staff/workers;empty=blank/void
equipment=gear/apparatus;errors=mistakes/faults;evaluating=assessing;example=sample/illustration
examples=samples/illustrations;exercises=tasks to practise;experiment=trial/test
experiments=trials/tests;explanation=account;external=outer/outside
features=capabilities/strengths;fees=charges;final=last;finding=locating;first=initial
food=nutrition;format=layout/arrangement;formats=layouts/arrangements;formatting=layout
fundamental=basic/underlying;future=coming;general=overall/broad;generating=producing
getting=obtaining;goals=aims;growth=increase/expansion;guidance=advice;guide=manual
guidelines=advice;handbook=manual;handling=dealing with;hardware=physical devices
health=well-being;help=assistance;helper=auxiliary/assisting;hidden=invisible;hints=advice/tips
history=past/how it evolved;house=dwelling;ideas=thoughts;identifying=recognising
implementation=realisation;important=essential/key;importing=bringing in;improvements=enhancements
income=earnings/revenue;information=facts;initial=first/starting;input=what goes in
inserting=putting in;installation=set-up/deployment;installing=setting up/deploying
instructions=directions/guidance;interactive=hands-on;internal=inner
introduction=first steps/getting started;invalid=incorrect/wrong;issues=troubles/concerns
keyword=reserved name;keywords=reserved names;known=familiar;large=big/huge;learning=studying
licence=terms of use;license=terms of use;limitations=restrictions/what cannot be done
limits=bounds;list=enumeration/inventory;long=lengthy;loss=deficit;main=principal/chief
maintaining=looking after;maintenance=upkeep/care;management=administration;managing=administering
maximum=greatest;measurement=gauging;measurements=readings;measuring=gauging/determining
meeting=gathering/session;members=participants;merging=joining/uniting;messages=notices
methods=techniques/approaches;minimum=least;missing=absent;mistakes=errors/slips
modifying=altering;monitoring=watching/keeping an eye on;motivation=reasons behind it
moving=relocating;multiple=several/many;new=recent/novel;notation=symbols
notes=remarks/annotations;objective=aim/target;objectives=aims/targets;objects=items/things
obsolete=outdated/no longer used;obtaining=getting hold of;opening=starting;opportunities=chances
optimal=best;optional=voluntary/not mandatory;options=settings/choices;ordering=sequence
organization=structure;outline=sketch;output=what comes out;overview=survey/summary
parameters=settings;patients=sick people;payment=remittance;payments=remittances;performance=speed
planning=preparing ahead;plans=intentions;plots=graphs/charts;plotting=graphing/charting
policies=rules;policy=agreed rule;practical=hands-on;preface=foreword/opening remarks
preparation=getting ready;preparing=getting ready;prerequisites=what is needed beforehand
previous=earlier/former;printing=writing out;problems=difficulties/troubles
procedure=course of action/steps;producing=making;profit=earnings/gain
programming=writing software/coding;programs=software;properties=attributes/characteristics
purpose=aim/intention;questions=queries;quick=fast/speedy;reading=loading;recent=latest/new
recommendations=advice;recommended=advised/suggested;reference=lookup;removal=deletion/taking away
removals=deletions;removing=deleting/taking out;repair=fixing;repairing=fixing
replacement=exchange;replacing=exchanging/swapping;repository=store;requesting=asking for
requirements=what is needed/prerequisites;responding=replying/answering
responsibilities=duties/obligations;restrictions=limitations/what is forbidden
results=outcomes/findings;revenue=income/turnover;review=inspection;revision=edition/amendment
revisions=editions/amendments;risk=danger/hazard;risks=dangers/hazards;rules=regulations
running=executing/launching;safety=protection from harm;sample=illustrative;saving=storing/keeping
schedule=timetable;scripts=small programs;searching=looking for
security=protection against attacks;selecting=choosing/picking;selection=choice
sending=submitting/dispatching;setting=adjusting;settings=preferences
setup=arrangement/preparation;short=brief/concise;simple=easy/plain;size=dimensions
sizes=dimensions;software=programs;solution=answer/remedy;solutions=answers/remedies
solving=working out;sorting=putting in order;special=particular;specifications=requirements
specifying=stating;speed=velocity/pace;splitting=dividing;staff=employees/workforce
starting=launching/beginning;status=state/condition;storage=keeping;storing=keeping;strategy=plan
structure=organisation;students=learners/pupils;submission=handing in;summary=recap/digest
supported=available;symbols=signs;syntax=grammar/how it is written;tasks=jobs;teachers=instructors
teaching=instruction;team=crew/group;techniques=methods;terminology=vocabulary
testing=trying out/checking;tests=trials/checks;tips=advice/hints;tools=utilities/instruments
topics=subjects/themes;total=sum;training=instruction;transforming=converting
transport=carriage/shipping;treatment=therapy;troubleshooting=solving difficulties
tutorial=guided lesson/walkthrough;types=sorts/kinds;understanding=grasping;updates=revisions
updating=bringing up to date;upgrading=moving to a newer version;uploading=sending in/submitting
uploads=submissions;usage=how it is used;useful=handy/helpful;user-defined=custom/self-made
users=people who work with it;vehicle=car;vehicles=cars;velocity=speed/pace;versions=releases
viewing=looking at;volunteers=unpaid helpers;warnings=cautions;warranty=guarantee
workflow=sequence of steps;writing=composing/authoring
""".replace("\n", ";").split(";")
        if pair
    )
}


# What the usual parts of documents are for: a title of one word says more than its synonym does.
PARTS = {
    "acknowledgements": "who helped",
    "acknowledgments": "who helped",
    "bugs": "known defects",
    "conclusion": "what follows from it all",
    "conclusions": "what follows from it all",
    "contact": "whom to ask",
    "conventions": "the agreed rules",
    "copyright": "who owns the rights",
    "credits": "who helped",
    "exercises": "tasks to practise on",
    "faq": "what people often ask",
    "glossary": "what the terms mean",
    "history": "how it evolved",
    "installation": "how to set it up",
    "license": "the terms of use",
    "licence": "the terms of use",
    "limitations": "what cannot be done",
    "maintenance": "upkeep and care",
    "prerequisites": "what is needed beforehand",
    "requirements": "what is needed beforehand",
    "safety": "how to avoid harm",
    "summary": "the main points",
    "support": "where to get help",
    "terminology": "what the terms mean",
    "troubleshooting": "what to do when something fails",
    "warranty": "the guarantee",
}

# These take an object: `dealing with` needs what is dealt with.
OPEN = tuple(f" {last}" for last in "in up with out at for into of after down to about on".split())


def content_words(text: str) -> list[str]:
    """Words of three letters or more that are no function words, in lower case."""
    return [word for word in re.findall(r"[^\W\d_]{3,}", text.lower()) if word not in STOP]


def stem(word: str) -> str:
    """A word without common English endings: enough to see that two are forms of one."""
    for ending in ("ations", "ation", "ings", "ing", "ies", "ions", "ion", "es", "ed", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def paraphrase(title: str, page: str) -> str | None:
    """The title with every content word replaced, or None where that cannot be done well.

    None of the new content words, nor another form of one, stands on the page: what the query
    shares with its answer is function words.
    """
    present = {stem(word) for word in content_words(page)}
    part = PARTS.get(title.lower())
    if part is not None:
        return None if any(stem(word) in present for word in content_words(part)) else part
    result, replaced = [], 0
    for place, token in enumerate(title.split()):
        carries = content_words(token)
        if not carries:
            result.append(token if token.isupper() and token != "A" else token.lower())
            continue
        options = SYNONYMS.get(token.lower().strip(",;:()"), ())
        fresh = (
            option
            for option in options
            if _fits(option, place, len(title.split()))
            and not any(stem(word) in present for word in content_words(option))
        )
        chosen = next(fresh, None)
        if chosen is None:
            return None
        result.append(chosen)
        replaced += 1
    return " ".join(result) if replaced >= 2 else None


def _fits(option: str, place: int, count: int) -> bool:
    """Whether other words can stand there: some want an object behind them, some nothing."""
    if " " not in option:
        return True
    return (place == 0 and place + 1 < count) if option.endswith(OPEN) else place + 1 == count
